// swift-tools-version: 6.0
import PackageDescription

// Begin: make_sources.py writes this.
let operators = [
  "platform/cpu.cc", "kernels/kernels.cc", "kernels/attend_scores/scalar.cc",
  "kernels/attend_scores_int8/scalar.cc", "kernels/attend_softmax/scalar.cc",
  "kernels/attend_unpack_int4/scalar.cc", "kernels/attend_values/scalar.cc",
  "kernels/attend_values_int8/scalar.cc", "kernels/attend_weights_int8/scalar.cc",
  "kernels/bf16_gemv/scalar.cc", "kernels/int8_gemv/scalar.cc", "kernels/level_gemv/scalar.cc",
  "kernels/read/scalar.cc", "kernels/rows/scalar.cc", "kernels/select/scalar.cc",
  "kernels/ternary_columns/scalar.cc", "kernels/ternary_few/scalar.cc",
  "kernels/ternary_gemm/scalar.cc", "kernels/ternary_gemv/scalar.cc",
  "kernels/ternary_group/scalar.cc", "kernels/ternary_open/scalar.cc",
  "operators/attention/attention.cc", "operators/attention/attention_float.cc",
  "operators/attention/attention_int8.cc", "operators/attention/attention_op.cc",
  "operators/attention/jobs.cc", "operators/bf16_matmul/bf16_matmul.cc",
  "operators/bf16_matmul/bf16_matmul_op.cc", "operators/experts/experts.cc",
  "operators/experts/experts_op.cc", "operators/experts/kinds.cc", "operators/experts/routing.cc",
  "operators/gated/gated.cc", "operators/gated/gated_op.cc", "operators/int8_matmul/int8_matmul.cc",
  "operators/int8_matmul/int8_matmul_op.cc", "operators/level_matmul/level_matmul.cc",
  "operators/level_matmul/level_matmul_op.cc", "operators/rms_norm/rms_norm.cc",
  "operators/rms_norm/rms_norm_op.cc", "operators/ternary_feed_forward/ternary_column_matmul.cc",
  "operators/ternary_feed_forward/ternary_feed_forward.cc",
  "operators/ternary_feed_forward/ternary_feed_forward_op.cc",
  "operators/ternary_feed_forward/ternary_gated_matmul.cc",
  "operators/ternary_group_matmul/ternary_group_matmul.cc",
  "operators/ternary_group_matmul/ternary_group_matmul_op.cc",
  "operators/ternary_matmul/ternary_matmul.cc", "operators/ternary_matmul/ternary_matmul_op.cc",
  "operators/ternary_matmul/ternary_norm_matmul.cc", "operators/two_step_matmul/rescore.cc",
  "operators/two_step_matmul/two_step_level_matmul.cc",
  "operators/two_step_matmul/two_step_level_matmul_op.cc",
  "operators/two_step_matmul/two_step_matmul.cc", "operators/two_step_matmul/two_step_matmul_op.cc",
  "onnxruntime/counters.cc", "onnxruntime/ort.cc", "onnxruntime/ort_op.cc",
  "onnxruntime/products.cc", "onnxruntime/registration.cc",
]
let notOfTheEngine = [
  "base/test_json.cc", "base/test_utf8.cc", "chat/test_chat.cc", "chat/test_vectors.cc",
  "run/test_generate.cc", "run/test_generation_config.cc", "run/test_manifest.cc",
  "run/test_sampling.cc", "run/test_threads.cc", "text/test_stream.cc", "text/test_tokenizer.cc",
  "words/test_bpe.cc", "words/test_split.cc", "unicode/unicode_tables.inc",
]
// End.

// On Apple's systems ONNX Runtime is linked in. Elsewhere the engine loads its library.
#if canImport(Darwin)
  let onnxruntime: [Package.Dependency] = [
    .package(
      url: "https://github.com/microsoft/onnxruntime-swift-package-manager", from: "1.24.2")
  ]
  let linked: [Target.Dependency] = [
    .product(name: "onnxruntime", package: "onnxruntime-swift-package-manager")
  ]
  let settings: [CXXSetting] = [.define("BITNET_EDGE_ONNXRUNTIME_LINKED")]
#else
  let onnxruntime: [Package.Dependency] = []
  let linked: [Target.Dependency] = []
  let settings: [CXXSetting] = []
#endif

let package = Package(
  name: "BitnetEdge",
  platforms: [.iOS(.v17), .macOS(.v14)],
  products: [
    .library(name: "BitnetEdge", targets: ["BitnetEdge"]),
    .library(name: "BitnetChat", targets: ["BitnetChat"]),
    .executable(name: "bitnet-edge-swift", targets: ["bitnet-edge-swift"]),
  ],
  dependencies: onnxruntime,
  targets: [
    // custom_ops. isa/ holds the kernels of one instruction set each: SwiftPM has no flags for single files.
    .target(
      name: "BitnetOperators",
      sources: ["isa", "register.cc"] + operators,
      publicHeadersPath: "module",
      cxxSettings: [.headerSearchPath("."), .headerSearchPath("onnxruntime/include")]),
    // The engine in C++: mobile_demo/engine.
    .target(
      name: "BitnetEngine",
      dependencies: ["BitnetOperators"] + linked,
      exclude: notOfTheEngine.map { "src/\($0)" },
      sources: ["src"],
      cxxSettings: [
        .define("BITNET_EDGE_OPERATORS_LINKED"),
        .headerSearchPath("src"),
        .headerSearchPath("../BitnetOperators/include"),
        .headerSearchPath("../BitnetOperators/onnxruntime/include"),
      ] + settings),
    // The engine as a Swift actor.
    .target(name: "BitnetEdge", dependencies: ["BitnetEngine"]),
    // What an app is without its screens.
    .target(name: "BitnetChat", dependencies: ["BitnetEdge"]),
    .executableTarget(
      name: "bitnet-edge-swift", dependencies: ["BitnetEdge"], path: "Sources/Client"),
    .testTarget(name: "BitnetEdgeTests", dependencies: ["BitnetEdge"]),
    .testTarget(name: "BitnetChatTests", dependencies: ["BitnetChat"]),
  ],
  cxxLanguageStandard: .cxx20
)

// swift-tools-version: 6.0
import PackageDescription

// As in custom_ops/CMakeLists.txt; tests/mobile/test_ios_package.py compares.
let kernels = [
  "attend_scores", "attend_scores_int8", "attend_softmax", "attend_values", "attend_values_int8",
  "attend_weights_int8", "bf16_gemv", "int4_gemv", "int8_gemv", "read", "rows", "select",
  "ternary_columns", "ternary_few", "ternary_gemm", "ternary_gemv", "ternary_group",
]
let operators = [
  "attention/attention", "attention/attention_int8", "attention/attention_op", "attention/jobs",
  "bf16_matmul/bf16_matmul", "bf16_matmul/bf16_matmul_op",
  "int4_matmul/int4_matmul", "int4_matmul/int4_matmul_op",
  "int8_matmul/int8_matmul", "int8_matmul/int8_matmul_op",
  "rms_norm/rms_norm", "rms_norm/rms_norm_op",
  "ternary_feed_forward/ternary_column_matmul", "ternary_feed_forward/ternary_feed_forward",
  "ternary_feed_forward/ternary_feed_forward_op", "ternary_feed_forward/ternary_gated_matmul",
  "ternary_group_matmul/ternary_group_matmul", "ternary_group_matmul/ternary_group_matmul_op",
  "ternary_matmul/ternary_matmul", "ternary_matmul/ternary_matmul_op",
  "ternary_matmul/ternary_norm_matmul",
  "two_step_matmul/rescore", "two_step_matmul/two_step_int4_matmul",
  "two_step_matmul/two_step_int4_matmul_op", "two_step_matmul/two_step_matmul",
  "two_step_matmul/two_step_matmul_op",
]
let notOfTheEngine = [
  "base/test_json.cc",
  "base/test_utf8.cc",
  "run/test_generate.cc",
  "run/test_generation_config.cc",
  "run/test_manifest.cc",
  "run/test_sampling.cc",
  "run/test_threads.cc",
  "text/unicode_tables.inc",
]
let boundary = ["counters", "ort", "ort_op", "products", "registration"]

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
    // isa/ holds the kernels of one instruction set each: SwiftPM has no flags for single files.
    .target(
      name: "BitnetOperators",
      sources: [
        "isa", "register.cc", "custom_ops/platform/cpu.cc", "custom_ops/kernels/kernels.cc",
      ] + kernels.map { "custom_ops/kernels/\($0)/scalar.cc" }
        + operators.map { "custom_ops/operators/\($0).cc" }
        + boundary.map { "custom_ops/onnxruntime/\($0).cc" },
      cxxSettings: [
        .headerSearchPath("."), .headerSearchPath("custom_ops"),
        .headerSearchPath("custom_ops/onnxruntime/include"),
      ]),
    // The engine in C++.
    .target(
      name: "BitnetEngine",
      dependencies: ["BitnetOperators"] + linked,
      exclude: notOfTheEngine.map { "engine/src/\($0)" },
      sources: ["engine/src"],
      cxxSettings: [
        .define("BITNET_EDGE_OPERATORS_LINKED"),
        .headerSearchPath("engine/src"),
        .headerSearchPath("../BitnetOperators/custom_ops/include"),
        .headerSearchPath("../BitnetOperators/custom_ops/onnxruntime/include"),
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

/* The functions of libbitnet_onnx_ops, for C (C99 or later), C++ and Swift. Any thread may call
 * them. */
#ifndef BITNET_ONNX_OPS_H
#define BITNET_ONNX_OPS_H

#include <stddef.h>
#include <stdint.h>

#ifndef BITNET_ONNX_EXPORT /* defined where the library itself is compiled */
#define BITNET_ONNX_EXPORT
#endif
#ifdef _WIN32
#define BITNET_ONNX_CALL __stdcall /* as ORT_API_CALL */
#else
#define BITNET_ONNX_CALL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* From onnxruntime_c_api.h. */
struct OrtApiBase;
struct OrtSessionOptions;
struct OrtStatus;

/* Adds the operators of the domain `bitnet` to the options of a session. ONNX Runtime calls it when
 * it loads the library by its path. A program that links the library passes it to
 * RegisterCustomOpsUsingFunction, or calls it with OrtGetApiBase(). Returns null, or a status that
 * the caller releases. Needs ONNX Runtime 1.17 or later. */
BITNET_ONNX_EXPORT struct OrtStatus* BITNET_ONNX_CALL
RegisterCustomOps(struct OrtSessionOptions* options, const struct OrtApiBase* api);

/* The version of the library, as "0.1.0". */
BITNET_ONNX_EXPORT const char* bitnet_onnx_version(void);

/* The names of the kernels that this CPU can run, best first, separated by commas. The last one is
 * "scalar". */
BITNET_ONNX_EXPORT const char* bitnet_onnx_kernels(void);

/* The name of the kernels in use: the best, or those that the environment variable
 * BITNET_ONNX_KERNEL names; null where this CPU cannot run these. */
BITNET_ONNX_EXPORT const char* bitnet_onnx_active_kernel(void);

/* Reads `bytes` of memory as fast as one thread can, for measurements. Returns the xor of the whole
 * 8-byte words. */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_read(const void* data, size_t bytes);

/* Counters of what operators do. A session counts if its options have this entry when
 * RegisterCustomOps is called: the id of counters, in decimal. Sessions may share counters. A
 * session without the entry counts nothing and reads no clock. */
#define BITNET_ONNX_COUNTERS_KEY "bitnet_onnx.counters"

/* Makes counters, all 0. Returns their id, or 0 if there is no memory. */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_new(void);

/* Releases the id. Sessions that use these counters may live on. */
BITNET_ONNX_EXPORT void bitnet_onnx_counters_free(uint64_t id);

/* Nanoseconds spent in all nodes of an operator such as "TernaryMatMul". This and the following
 * functions return 0 for an unknown id or operator. */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_nanoseconds(uint64_t id,
                                                             const char* operator_name);

/* Bytes of weights that were not read: rows of up_proj behind a closed gate, ... */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_skipped_rows(uint64_t id);
/* ... columns of down_proj for an activation that is 0, ... */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_skipped_columns(uint64_t id);
/* ... rows of a two-step head's table that cannot be among the 64 largest, ... */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_skipped_head(uint64_t id);
/* ... and experts that no token of a call goes to. */
BITNET_ONNX_EXPORT uint64_t bitnet_onnx_counters_skipped_experts(uint64_t id);

#ifdef __cplusplus
}
#endif

#endif /* BITNET_ONNX_OPS_H */

#include "run/libraries.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // dladdr
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <unistd.h>

#include <vector>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

namespace edge {
namespace {

#ifdef __APPLE__
constexpr const char* kRuntimes[] = {"libonnxruntime.dylib", "onnxruntime.framework/onnxruntime"};
constexpr char kOperators[] = "libbitnet_onnx_ops.dylib";
#else
constexpr const char* kRuntimes[] = {"libonnxruntime.so", "libonnxruntime.so.1"};
constexpr char kOperators[] = "libbitnet_onnx_ops.so";
#endif

void add_folder_of(const std::string& path, std::vector<std::string>* folders) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return;
  const std::string folder = path.substr(0, slash + 1);
  for (const std::string& known : *folders) {
    if (known == folder) return;
  }
  folders->push_back(folder);
}

std::string program() {
  char path[4096];
#ifdef __APPLE__
  uint32_t size = sizeof(path);
  return _NSGetExecutablePath(path, &size) == 0 ? path : "";
#else
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return size > 0 ? std::string(path, static_cast<size_t>(size)) : "";
#endif
}

// The folder of this program, and that of the library that holds this function; each with a slash
// at the end, and left out where the system does not tell.
std::vector<std::string> own_folders() {
  std::vector<std::string> folders;
  add_folder_of(program(), &folders);
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&own_folders), &info) && info.dli_fname) {
    add_folder_of(info.dli_fname, &folders);
  }
  return folders;
}

Status no_runtime(const std::string& where, const std::string& why) {
  return fail(BITNET_EDGE_RUNTIME,
              "ONNX Runtime cannot be loaded from %s: %s; name its library, which PyPI's "
              "onnxruntime has as onnxruntime/capi/libonnxruntime.so.*",
              where.c_str(), why.empty() ? "it has no OrtGetApiBase" : why.c_str());
}

}  // namespace

void* load_symbol(const char* path, const char* symbol, std::string* why) {
  // Never closed: the threads of a library that was used may outlive its last session.
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* found = library ? dlsym(library, symbol) : nullptr;
  const char* said = found ? nullptr : dlerror();
  *why = said ? said : "";
  return found;
}

Status find_onnxruntime(const std::string& given, void** get_api_base) {
  constexpr char symbol[] = "OrtGetApiBase";
  std::string why;
  void* found = nullptr;
  if (!given.empty()) {
    found = load_symbol(given.c_str(), symbol, &why);
    if (!found) return no_runtime(given, why);
  }
  if (!found) found = dlsym(RTLD_DEFAULT, symbol);
  std::vector<std::string> folders = own_folders();
  folders.push_back("");  // the system's search
  for (const std::string& folder : folders) {
    for (const char* name : kRuntimes) {
      if (!found) found = load_symbol((folder + name).c_str(), symbol, &why);
    }
  }
  if (!found) return no_runtime("the program's folder or the system's libraries", why);
  *get_api_base = found;
  return {};
}

std::string operators_beside() {
  for (const std::string& folder : own_folders()) {
    const std::string path = folder + kOperators;
    std::string why;
    if (load_symbol(path.c_str(), "RegisterCustomOps", &why)) return path;
  }
  return kOperators;
}

}  // namespace edge

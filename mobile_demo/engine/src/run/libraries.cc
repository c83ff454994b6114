#include "run/libraries.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // dladdr
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

namespace edge {
namespace {

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

}  // namespace

std::vector<std::string> own_folders() {
  std::vector<std::string> folders;
  add_folder_of(program(), &folders);
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&own_folders), &info) && info.dli_fname) {
    add_folder_of(info.dli_fname, &folders);
  }
  return folders;
}

void* load_symbol(const char* path, const char* symbol, std::string* why) {
  // Never closed: the threads of a library that was used may outlive its last session.
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* found = library ? dlsym(library, symbol) : nullptr;
  const char* said = found ? nullptr : dlerror();
  *why = said ? said : "";
  return found;
}

void* find_symbol(const char* symbol) { return dlsym(RTLD_DEFAULT, symbol); }

}  // namespace edge

// What Android's libraries want of Android's libc and glibc has not, so that they run over glibc.
// It is preloaded. It tests their code, not Android's libc.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

// Android's stdin, stdout and stderr lie in one array.
enum { kFile = 152 };
char __sF[3 * kFile];

static FILE* real_file(FILE* file) {
  const char* at = (const char*)file;
  if (at < __sF || at >= __sF + sizeof(__sF)) return file;
  return at < __sF + kFile ? stdin : at < __sF + 2 * kFile ? stdout : stderr;
}

int fflush(FILE* file) { return fflush_unlocked(real_file(file)); }
size_t fwrite(const void* data, size_t size, size_t count, FILE* file) {
  return fwrite_unlocked(data, size, count, real_file(file));
}

// Without versions of symbols the one of glibc's first years would be found, which knows no NULL.
char* realpath(const char* path, char* resolved) {
  char* found = canonicalize_file_name(path);
  if (!found || !resolved) return found;
  strcpy(resolved, found);
  free(found);
  return resolved;
}

int* __errno(void) { return &errno; }
size_t __strlen_chk(const char* text, size_t size) { return (void)size, strlen(text); }
char* __strchr_chk(const char* text, int byte, size_t size) {
  return (void)size, strchr(text, byte);
}
char* __gnu_strerror_r(int error, char* text, size_t size) { return strerror_r(error, text, size); }
void __FD_SET_chk(int file, fd_set* set, size_t size) { (void)size, FD_SET(file, set); }
int __FD_ISSET_chk(int file, const fd_set* set, size_t size) {
  return (void)size, FD_ISSET(file, set);
}

int __system_property_get(const char* name, char* value) { return (void)name, *value = 0; }
void android_set_abort_message(const char* message) { fprintf(stderr, "%s\n", message); }
int __android_log_write(int level, const char* tag, const char* text) {
  return (void)level, fprintf(stderr, "%s: %s\n", tag, text);
}
int __android_log_vprint(int level, const char* tag, const char* format, va_list list) {
  (void)level, (void)tag;
  return vfprintf(stderr, format, list);
}
int __android_log_print(int level, const char* tag, const char* format, ...) {
  va_list list;
  va_start(list, format);
  int size = __android_log_vprint(level, tag, format, list);
  va_end(list);
  return size;
}

void __gcov_dump(void) {}
void __gcov_flush(void) {}

// Android numbers the names of sysconf otherwise.
long sysconf(int name) {
  long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
  static const int names[][2] = {{0x27, _SC_PAGESIZE},         {0x28, _SC_PAGESIZE},
                                 {0x60, _SC_NPROCESSORS_CONF}, {0x61, _SC_NPROCESSORS_ONLN},
                                 {0x62, _SC_PHYS_PAGES},       {0x63, _SC_AVPHYS_PAGES}};
  void* caller = __builtin_return_address(0);
  Dl_info info;
  int android = dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/android/");
  for (size_t i = 0; android && i < sizeof(names) / sizeof(*names); ++i) {
    if (names[i][0] == name) return real(names[i][1]);
  }
  return real(name);
}

// The same of libdl.so.
void dladdr(void) {}
void dlerror(void) {}
void dlopen(void) {}
void dlsym(void) {}

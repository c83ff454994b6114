// The functions of Android 5.0's libc.so that the library may call, by name alone. See zig.cmake.
void calloc(void) {}
void clock_gettime(void) {}
void free(void) {}
void getauxval(void) {}
void getenv(void) {}
void malloc(void) {}
void memcmp(void) {}
void memcpy(void) {}
void memmove(void) {}
void memset(void) {}
void snprintf(void) {}
void strcat(void) {}
void strcmp(void) {}
void strlen(void) {}
void vsnprintf(void) {}

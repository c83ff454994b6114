// The same of libm.so.
void exp(void) {}
void log(void) {}
void pow(void) {}

// Compiles SOURCE for CPUs of this kind, and for no processor of another family.
#include "platform/compiler.h"
#if BITNET_ARM
#include SOURCE
#endif

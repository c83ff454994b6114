// What jni.cc needs of Java: arrays while C reads them, fields, and an exception.
#ifndef BITNET_EDGE_JAVA_H_
#define BITNET_EDGE_JAVA_H_

#include <jni.h>
#include <stdlib.h>
#include <string.h>

#include "bitnet_edge.h"

#define EDGE "Lorg/bitnetonnx/edge/"

namespace {

// The bytes of a Java array while C reads them; null stays null.
class Bytes {
 public:
  Bytes(JNIEnv* env, jbyteArray array) : env_(env), array_(array) {
    if (array) data_ = env->GetByteArrayElements(array, nullptr);
    if (data_) size_ = static_cast<size_t>(env->GetArrayLength(array));
  }
  ~Bytes() {
    if (data_) env_->ReleaseByteArrayElements(array_, data_, JNI_ABORT);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  bool lost() const { return array_ && !data_; }  // OutOfMemoryError is pending
  const char* data() const { return reinterpret_cast<const char*>(data_); }
  size_t size() const { return size_; }

 private:
  JNIEnv* env_;
  jbyteArray array_;
  jbyte* data_ = nullptr;
  size_t size_ = 0;
};

// The same for ids.
class Ids {
 public:
  Ids(JNIEnv* env, jintArray array) : env_(env), array_(array) {
    data_ = env->GetIntArrayElements(array, nullptr);
    if (data_) size_ = static_cast<size_t>(env->GetArrayLength(array));
  }
  ~Ids() {
    if (data_) env_->ReleaseIntArrayElements(array_, data_, JNI_ABORT);
  }
  Ids(const Ids&) = delete;
  Ids& operator=(const Ids&) = delete;

  bool lost() const { return !data_; }
  const int32_t* data() const { return reinterpret_cast<const int32_t*>(data_); }
  size_t size() const { return size_; }

 private:
  JNIEnv* env_;
  jintArray array_;
  jint* data_ = nullptr;
  size_t size_ = 0;
};

// Strings of C: a copy of Java's arrays, each of which ends with NUL.
class Strings {
 public:
  Strings(JNIEnv* env, jobjectArray arrays)
      : size_(static_cast<size_t>(env->GetArrayLength(arrays))) {
    data_ = static_cast<char**>(calloc(size_ + 1, sizeof(char*)));
    for (size_t i = 0; data_ && !lost_ && i < size_; ++i) {
      auto array =
          static_cast<jbyteArray>(env->GetObjectArrayElement(arrays, static_cast<jsize>(i)));
      jsize length = env->GetArrayLength(array);
      data_[i] = static_cast<char*>(malloc(static_cast<size_t>(length) + 1));
      lost_ = !data_[i];
      if (!lost_) env->GetByteArrayRegion(array, 0, length, reinterpret_cast<jbyte*>(data_[i]));
      env->DeleteLocalRef(array);
    }
    if (!data_ || lost_) {
      lost_ = true;
      jclass type = env->FindClass("java/lang/OutOfMemoryError");
      if (type) env->ThrowNew(type, "stop strings");
    }
  }
  ~Strings() {
    for (size_t i = 0; data_ && i < size_; ++i) free(data_[i]);
    free(data_);
  }
  Strings(const Strings&) = delete;
  Strings& operator=(const Strings&) = delete;

  bool lost() const { return lost_; }  // OutOfMemoryError is pending
  const char* const* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  char** data_;
  bool lost_ = false;
};

inline jbyteArray java_bytes(JNIEnv* env, const char* data, size_t size) {
  jbyteArray made = env->NewByteArray(static_cast<jsize>(size));
  if (made) {
    env->SetByteArrayRegion(made, 0, static_cast<jsize>(size),
                            reinterpret_cast<const jbyte*>(data));
  }
  return made;
}

inline jintArray java_ids(JNIEnv* env, const int32_t* ids, size_t count) {
  jintArray made = env->NewIntArray(static_cast<jsize>(count));
  if (made) {
    env->SetIntArrayRegion(made, 0, static_cast<jsize>(count), reinterpret_cast<const jint*>(ids));
  }
  return made;
}

// Throws an EngineException. Where Java has no memory for it, Java's own error is pending instead.
inline void raise(JNIEnv* env, bitnet_edge_code code, const bitnet_edge_error& error) {
  jbyteArray sentence = java_bytes(env, error.sentence, strlen(error.sentence));
  jclass type = sentence ? env->FindClass("org/bitnetonnx/edge/EngineException") : nullptr;
  jmethodID make = type ? env->GetMethodID(type, "<init>", "(I[B)V") : nullptr;
  if (!make) return;
  jobject made = env->NewObject(type, make, static_cast<jint>(code), sentence);
  if (made) env->Throw(static_cast<jthrowable>(made));
}

// A field of a Java object; the names are those of Generation.java and Stats.java.
class Fields {
 public:
  Fields(JNIEnv* env, jobject object)
      : env_(env), object_(object), type_(env->GetObjectClass(object)) {}

  jint integer(const char* name) { return env_->GetIntField(object_, id(name, "I")); }
  jlong large(const char* name) { return env_->GetLongField(object_, id(name, "J")); }
  jdouble number(const char* name) { return env_->GetDoubleField(object_, id(name, "D")); }
  bool flag(const char* name) { return env_->GetBooleanField(object_, id(name, "Z")); }
  void set(const char* name, int32_t to) { env_->SetIntField(object_, id(name, "I"), to); }
  void set(const char* name, uint64_t to) {
    env_->SetLongField(object_, id(name, "J"), static_cast<jlong>(to));
  }
  void set(const char* name, double to) { env_->SetDoubleField(object_, id(name, "D"), to); }
  void set(const char* name, bool to) { env_->SetBooleanField(object_, id(name, "Z"), to); }

 private:
  jfieldID id(const char* name, const char* type) { return env_->GetFieldID(type_, name, type); }

  JNIEnv* env_;
  jobject object_;
  jclass type_;
};

}  // namespace

#endif

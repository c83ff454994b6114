// The native methods of Engine.java. The table at the end says which function each one calls.
#include <jni.h>
#include <string.h>

#include "bitnet_edge.h"
#include "java.h"

namespace {

bitnet_edge* engine_of(jlong handle) { return reinterpret_cast<bitnet_edge*>(handle); }

jlong open(JNIEnv* env, jclass, jbyteArray folder, jbyteArray onnxruntime, jbyteArray operators,
           jint threads) {
  Bytes folder_bytes(env, folder), runtime_bytes(env, onnxruntime), ops_bytes(env, operators);
  if (folder_bytes.lost() || runtime_bytes.lost() || ops_bytes.lost()) return 0;
  bitnet_edge_options options = {folder_bytes.data(), runtime_bytes.data(), ops_bytes.data(),
                                 threads};
  bitnet_edge* engine = nullptr;
  bitnet_edge_error error = {};
  bitnet_edge_code code = bitnet_edge_open(&options, &engine, &error);
  if (code != BITNET_EDGE_OK) raise(env, code, error);
  return reinterpret_cast<jlong>(engine);
}

void close(JNIEnv*, jclass, jlong handle) { bitnet_edge_close(engine_of(handle)); }

jintArray describe(JNIEnv* env, jclass, jlong handle, jobjectArray words) {
  bitnet_edge_info info = {};
  bitnet_edge_describe(engine_of(handle), &info);
  const char* texts[] = {info.name,   info.head,   info.cache,
                         info.target, info.kernel, bitnet_edge_why_no_chat(engine_of(handle))};
  for (jsize i = 0; i < 6; ++i) {
    if (!texts[i]) continue;
    jbyteArray word = java_bytes(env, texts[i], strlen(texts[i]));
    if (!word) return nullptr;
    env->SetObjectArrayElement(words, i, word);
    env->DeleteLocalRef(word);
  }
  int32_t sizes[] = {info.vocab_size, info.context_length, info.threads, info.can_chat};
  return java_ids(env, sizes, 4);
}

// Returns the stop strings; the rest goes into fields.
jobjectArray defaults(JNIEnv* env, jclass, jlong handle, jobject generation) {
  bitnet_edge_generation asked = {};
  bitnet_edge_defaults(engine_of(handle), &asked);
  Fields fields(env, generation);
  fields.set("maxNewTokens", asked.max_new_tokens);
  fields.set("doSample", asked.do_sample != 0);
  fields.set("temperature", asked.temperature);
  fields.set("topK", asked.top_k);
  fields.set("topP", asked.top_p);
  fields.set("minP", asked.min_p);
  fields.set("repetitionPenalty", asked.repetition_penalty);
  fields.set("seed", asked.seed);
  fields.set("whenFull", asked.when_full);
  jclass bytes = env->FindClass("[B");
  auto count = static_cast<jsize>(asked.stop_string_count);
  jobjectArray stops = bytes ? env->NewObjectArray(count, bytes, nullptr) : nullptr;
  for (jsize i = 0; stops && i < count; ++i) {
    jbyteArray stop = java_bytes(env, asked.stop_strings[i], strlen(asked.stop_strings[i]));
    if (!stop) return nullptr;
    env->SetObjectArrayElement(stops, i, stop);
    env->DeleteLocalRef(stop);
  }
  return stops;
}

jintArray encode(JNIEnv* env, jclass, jlong handle, jbyteArray text, jboolean special) {
  Bytes bytes(env, text);
  if (bytes.lost()) return nullptr;
  // A text has at most one id for each byte, and a few special ones.
  size_t room = bytes.size() + 16, count = 0;
  jintArray made = env->NewIntArray(static_cast<jsize>(room));
  if (!made) return nullptr;
  Ids ids(env, made);
  if (ids.lost()) return nullptr;
  bitnet_edge_error error = {};
  bitnet_edge_code code =
      bitnet_edge_encode(engine_of(handle), bytes.data(), bytes.size(), special,
                         const_cast<int32_t*>(ids.data()), room, &count, &error);
  if (code != BITNET_EDGE_OK) {
    raise(env, code, error);
    return nullptr;
  }
  return java_ids(env, ids.data(), count < room ? count : room);
}

jbyteArray decode(JNIEnv* env, jclass, jlong handle, jintArray array) {
  Ids ids(env, array);
  if (ids.lost()) return nullptr;
  bitnet_edge_error error = {};
  size_t size = 0;
  bitnet_edge_code code =
      bitnet_edge_decode(engine_of(handle), ids.data(), ids.size(), nullptr, 0, &size, &error);
  jbyteArray made = code == BITNET_EDGE_OK ? env->NewByteArray(static_cast<jsize>(size)) : nullptr;
  if (made) {
    jbyte* text = env->GetByteArrayElements(made, nullptr);
    if (!text) return nullptr;
    code = bitnet_edge_decode(engine_of(handle), ids.data(), ids.size(),
                              reinterpret_cast<char*>(text), size, &size, &error);
    env->ReleaseByteArrayElements(made, text, 0);
  }
  if (code != BITNET_EDGE_OK) raise(env, code, error);
  return made;
}

void start_chat(JNIEnv* env, jclass, jlong handle, jbyteArray system) {
  Bytes bytes(env, system);
  if (bytes.lost()) return;
  bitnet_edge_error error = {};
  bitnet_edge_code code =
      bitnet_edge_chat_start(engine_of(handle), bytes.data(), bytes.size(), &error);
  if (code != BITNET_EDGE_OK) raise(env, code, error);
}

void add_turn(JNIEnv* env, jclass, jlong handle, jbyteArray user, jbyteArray answer) {
  Bytes question(env, user), reply(env, answer);
  if (question.lost() || reply.lost()) return;
  bitnet_edge_error error = {};
  bitnet_edge_code code = bitnet_edge_chat_add(engine_of(handle), question.data(), question.size(),
                                               reply.data(), reply.size(), &error);
  if (code != BITNET_EDGE_OK) raise(env, code, error);
}

// Who gets the pieces of an answer.
struct Listener {
  JNIEnv* env;
  jclass engine;
  jmethodID deliver;
  jobject pieces;
};

int hand_over(const char* text, size_t size, void* user) {
  auto* to = static_cast<Listener*>(user);
  jbyteArray piece = java_bytes(to->env, text, size);
  if (!piece) return 1;
  bool more = to->env->CallStaticBooleanMethod(to->engine, to->deliver, to->pieces, piece);
  bool thrown = to->env->ExceptionCheck();  // asked for also where no more is wanted
  to->env->DeleteLocalRef(piece);
  return more && !thrown ? 0 : 1;
}

struct Call {
  bitnet_edge_generation generation;
  bitnet_edge_stats stats;
  Listener listener;
};

bool begin(JNIEnv* env, jclass engine, jobject generation, const Strings& stops, jobject pieces,
           Call* call) {
  if (stops.lost()) return false;
  Fields fields(env, generation);
  bitnet_edge_generation& to = call->generation;
  to.max_new_tokens = fields.integer("maxNewTokens");
  to.do_sample = fields.flag("doSample");
  to.temperature = fields.number("temperature");
  to.top_k = fields.integer("topK");
  to.top_p = fields.number("topP");
  to.min_p = fields.number("minP");
  to.repetition_penalty = fields.number("repetitionPenalty");
  to.seed = static_cast<uint64_t>(fields.large("seed"));
  to.when_full = fields.integer("whenFull");
  to.stop_strings = stops.data();
  to.stop_string_count = stops.size();
  jmethodID deliver = env->GetStaticMethodID(engine, "deliver", "(" EDGE "Pieces;[B)Z");
  call->listener = {env, engine, deliver, pieces};
  return deliver != nullptr;
}

void end(JNIEnv* env, Call* call, jobject stats) {
  if (env->ExceptionCheck()) return;
  Fields fields(env, stats);
  fields.set("finish", static_cast<int32_t>(call->stats.finish));
  fields.set("promptIds", call->stats.prompt_ids);
  fields.set("reusedIds", call->stats.reused_ids);
  fields.set("newIds", call->stats.new_ids);
  fields.set("forgotten", call->stats.forgotten);
  fields.set("shifts", call->stats.shifts);
  fields.set("firstSeconds", call->stats.first_seconds);
  fields.set("decodeSeconds", call->stats.decode_seconds);
}

// An exception that `pieces` threw is Java's to see, not what the engine says about being stopped.
void report(JNIEnv* env, bitnet_edge_code code, const bitnet_edge_error& error) {
  if (code != BITNET_EDGE_OK && !env->ExceptionCheck()) raise(env, code, error);
}

void send(JNIEnv* env, jclass type, jlong handle, jbyteArray text, jobject generation,
          jobjectArray stop_strings, jobject pieces, jobject stats) {
  Bytes bytes(env, text);
  Strings stops(env, stop_strings);
  Call call = {};
  if (!bytes.lost() && begin(env, type, generation, stops, pieces, &call)) {
    bitnet_edge_error error = {};
    report(env,
           bitnet_edge_chat_send(engine_of(handle), bytes.data(), bytes.size(), &call.generation,
                                 hand_over, &call.listener, &call.stats, &error),
           error);
  }
  end(env, &call, stats);
}

void generate(JNIEnv* env, jclass type, jlong handle, jintArray array, jobject generation,
              jobjectArray stop_strings, jobject pieces, jobject stats) {
  Ids ids(env, array);
  Strings stops(env, stop_strings);
  Call call = {};
  if (!ids.lost() && begin(env, type, generation, stops, pieces, &call)) {
    bitnet_edge_error error = {};
    report(env,
           bitnet_edge_generate(engine_of(handle), ids.data(), ids.size(), &call.generation,
                                hand_over, &call.listener, &call.stats, &error),
           error);
  }
  end(env, &call, stats);
}

jintArray answer_ids(JNIEnv* env, jclass, jlong handle) {
  size_t count = 0;
  const int32_t* ids = bitnet_edge_answer_ids(engine_of(handle), &count);
  return java_ids(env, ids, count);
}

void stop(JNIEnv*, jclass, jlong handle) { bitnet_edge_stop(engine_of(handle)); }

#define ANSWER EDGE "Generation;[[B" EDGE "Pieces;" EDGE "Stats;"

struct Method {
  const char* name;
  const char* signature;
  void* function;
};

const Method kMethods[] = {
    {"open", "([B[B[BI)J", reinterpret_cast<void*>(open)},
    {"close", "(J)V", reinterpret_cast<void*>(close)},
    {"describe", "(J[[B)[I", reinterpret_cast<void*>(describe)},
    {"defaults", "(J" EDGE "Generation;)[[B", reinterpret_cast<void*>(defaults)},
    {"encode", "(J[BZ)[I", reinterpret_cast<void*>(encode)},
    {"decode", "(J[I)[B", reinterpret_cast<void*>(decode)},
    {"startChat", "(J[B)V", reinterpret_cast<void*>(start_chat)},
    {"addTurn", "(J[B[B)V", reinterpret_cast<void*>(add_turn)},
    {"send", "(J[B" ANSWER ")V", reinterpret_cast<void*>(send)},
    {"generate", "(J[I" ANSWER ")V", reinterpret_cast<void*>(generate)},
    {"answerIds", "(J)[I", reinterpret_cast<void*>(answer_ids)},
    {"stop", "(J)V", reinterpret_cast<void*>(stop)},
};

}  // namespace

extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* vm, void*) {
  JNIEnv* env = nullptr;
  if (vm->GetEnv(reinterpret_cast<void**>(&env), JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
  jclass engine = env->FindClass("org/bitnetonnx/edge/Engine");
  if (!engine) return JNI_ERR;
  for (const Method& method : kMethods) {
    // JDK's header has pointers to char in this struct, Android's to const char.
    JNINativeMethod native = {const_cast<char*>(method.name), const_cast<char*>(method.signature),
                              method.function};
    if (env->RegisterNatives(engine, &native, 1) != JNI_OK) return JNI_ERR;
  }
  return JNI_VERSION_1_6;
}

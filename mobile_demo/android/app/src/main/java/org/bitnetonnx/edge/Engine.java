package org.bitnetonnx.edge;

import java.nio.charset.StandardCharsets;

/**
 * An open artifact folder that answers: bitnet_edge.h for Java. Knows nothing of Android.
 *
 * <p>Texts go to C as UTF-8 bytes: the strings of JNI are "modified" UTF-8, which spoils emoji and
 * NUL. One thread at a time may call an engine, except {@link #stop}, which any thread may call.
 */
public final class Engine implements AutoCloseable {
  static {
    System.loadLibrary("bitnet_edge_jni");
  }

  private final Object lock = new Object(); // stop and close come from different threads
  private long handle;

  /**
   * Opens a folder that bitnet-onnx export made.
   *
   * @param onnxruntime ONNX Runtime's library; null: beside the program, then the system's
   * @param operators the library of the custom operators; null: those linked in, or beside
   * @param threads 0: one for each big core
   */
  public Engine(String folder, String onnxruntime, String operators, int threads)
      throws EngineException {
    handle = open(Utf8.path(folder), Utf8.path(onnxruntime), Utf8.path(operators), threads);
  }

  @Override
  public void close() {
    long closing;
    synchronized (lock) {
      closing = handle;
      handle = 0;
    }
    close(closing);
  }

  /** What was opened. */
  public Description describe() {
    byte[][] words = new byte[Description.WORDS][];
    int[] sizes = describe(opened(), words);
    return new Description(words, sizes);
  }

  /** What the artifact's generation_config.json asks for. */
  public Generation defaults() {
    Generation generation = new Generation();
    generation.stopStrings = Utf8.texts(defaults(opened(), generation));
    return generation;
  }

  /**
   * Text to ids, as the checkpoint's own tokenizer makes them.
   *
   * @param special the tokenizer's own bos and the like are added, and special tokens are ids
   */
  public int[] encode(String text, boolean special) throws EngineException {
    return encode(opened(), Utf8.bytes(text), special);
  }

  /** Ids to text, without special tokens. */
  public String decode(int[] ids) throws EngineException {
    return Utf8.text(decode(opened(), ids));
  }

  /** Starts a conversation. system may be null. */
  public void startChat(String system) throws EngineException {
    startChat(opened(), system == null ? null : Utf8.bytes(system));
  }

  /** Adds a turn that was saved before. */
  public void addTurn(String user, String answer) throws EngineException {
    addTurn(opened(), Utf8.bytes(user), Utf8.bytes(answer));
  }

  /** Answers a message; the answer, as far as it was given, becomes a turn of the conversation. */
  public Stats send(String text, Generation generation, Pieces pieces) throws EngineException {
    Stats stats = new Stats();
    byte[][] stops = Utf8.paths(generation.stopStrings);
    send(opened(), Utf8.bytes(text), generation, stops, pieces, stats);
    return stats;
  }

  /** Continues ids. */
  public Stats generate(int[] ids, Generation generation, Pieces pieces) throws EngineException {
    Stats stats = new Stats();
    generate(opened(), ids, generation, Utf8.paths(generation.stopStrings), pieces, stats);
    return stats;
  }

  /** The ids of the last answer. */
  public int[] answerIds() {
    return answerIds(opened());
  }

  /** Ends the answer in progress; does nothing where there is none. */
  public void stop() {
    synchronized (lock) {
      if (handle != 0) {
        stop(handle);
      }
    }
  }

  private long opened() {
    if (handle == 0) {
      throw new IllegalStateException("the engine is closed");
    }
    return handle;
  }

  /** Called by C. */
  private static boolean deliver(Pieces pieces, byte[] utf8) {
    return pieces.piece(new String(utf8, StandardCharsets.UTF_8));
  }

  private static native long open(
      byte[] folder, byte[] onnxruntime, byte[] operators, int threads) throws EngineException;

  private static native void close(long engine);

  private static native int[] describe(long engine, byte[][] words);

  private static native byte[][] defaults(long engine, Generation generation);

  private static native int[] encode(long engine, byte[] text, boolean special)
      throws EngineException;

  private static native byte[] decode(long engine, int[] ids) throws EngineException;

  private static native void startChat(long engine, byte[] system) throws EngineException;

  private static native void addTurn(long engine, byte[] user, byte[] answer)
      throws EngineException;

  private static native void send(
      long engine,
      byte[] text,
      Generation generation,
      byte[][] stops,
      Pieces pieces,
      Stats stats)
      throws EngineException;

  private static native void generate(
      long engine,
      int[] ids,
      Generation generation,
      byte[][] stops,
      Pieces pieces,
      Stats stats)
      throws EngineException;

  private static native int[] answerIds(long engine);

  private static native void stop(long engine);
}

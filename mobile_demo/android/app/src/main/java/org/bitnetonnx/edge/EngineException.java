package org.bitnetonnx.edge;

/** A call that failed: a code of bitnet_edge.h and one sentence for the user. */
public final class EngineException extends Exception {
  private static final long serialVersionUID = 1;

  public static final int ARGUMENT = 1;
  public static final int ARTIFACT = 2;
  public static final int UNSUPPORTED = 3;
  public static final int RUNTIME = 4;
  public static final int CONTEXT = 5;
  public static final int MEMORY = 6;
  public static final int BUSY = 7;

  public final int code;

  EngineException(int code, String sentence) {
    super(sentence);
    this.code = code;
  }

  /** Called by C. */
  EngineException(int code, byte[] sentence) {
    this(code, Utf8.text(sentence));
  }
}

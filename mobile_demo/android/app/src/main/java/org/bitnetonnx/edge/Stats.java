package org.bitnetonnx.edge;

/** How an answer went. C writes the fields. */
public final class Stats {
  public static final int STOP = 0; // an end-of-sequence token
  public static final int STOP_STRING = 1;
  public static final int LENGTH = 2; // maxNewTokens, or the context is full
  public static final int STOPPED = 3; // by the caller

  public int finish;
  public int promptIds;
  public int reusedIds; // of the prompt, in the cache already
  public int newIds;
  public int forgotten; // turns that the context had no room for
  public int shifts; // how often the context was full and half of it was dropped
  public double firstSeconds; // from the call to the first id
  public double decodeSeconds; // from the first id to the last one

  /** Of an answer that was stopped before it began. */
  public static Stats stopped() {
    Stats stats = new Stats();
    stats.finish = STOPPED;
    return stats;
  }

  /** Tokens of the answer in a second, the first one left out; 0 where there is no second one. */
  public double tokensPerSecond() {
    return newIds > 1 && decodeSeconds > 0 ? (newIds - 1) / decodeSeconds : 0;
  }
}

package org.bitnetonnx.edge;

/** Options of generation, under transformers' names and with their meanings. C reads the fields. */
public final class Generation {
  public int maxNewTokens; // 0: as many as the artifact says
  public boolean doSample;
  public double temperature = 1;
  public int topK; // 0: off
  public double topP = 1; // 1: off
  public double minP; // 0: off
  public double repetitionPenalty = 1; // 1: off
  public long seed;
  /**
   * The context. 0: the answer ends there; 1: its beginning and newest half stay; 2: as 0, and a
   * conversation that is longer is refused.
   */
  public int whenFull;
  public String[] stopStrings = {}; // not shown
}

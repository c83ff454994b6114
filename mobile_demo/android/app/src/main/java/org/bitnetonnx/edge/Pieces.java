package org.bitnetonnx.edge;

/** Gets each piece of an answer as it is made: whole characters. */
public interface Pieces {
  /** Returns false to end the answer here. */
  boolean piece(String text);
}

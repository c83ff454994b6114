package org.bitnetonnx.chat.models;

/** A model that cannot be used, in one sentence for the user. */
public final class ModelException extends Exception {
  private static final long serialVersionUID = 1;

  ModelException(String sentence) {
    super(sentence);
  }
}

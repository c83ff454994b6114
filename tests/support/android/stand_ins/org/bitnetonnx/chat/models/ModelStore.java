package org.bitnetonnx.chat.models;

import java.io.File;

/** The one model that a test selects. */
public final class ModelStore {
  public volatile String selected;

  public File open() throws ModelException {
    return new File(selected);
  }
}

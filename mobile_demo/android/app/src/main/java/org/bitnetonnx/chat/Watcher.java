package org.bitnetonnx.chat;

/** A screen that shows something: it is told on the main thread to look again. */
public interface Watcher {
  void changed();
}

package org.bitnetonnx.edge;

/** What an engine has opened. */
public final class Description {
  static final int WORDS = 6; // as jni.cc fills them

  public final String name; // of the network
  public final String head;
  public final String cache;
  public final String target;
  public final String kernel; // that the operators run; "" where they are none
  public final String whyNoChat; // null where the artifact has a conversation
  public final int vocabSize;
  public final int contextLength;
  public final int threads;
  public final boolean canChat;

  Description(byte[][] words, int[] sizes) {
    name = Utf8.text(words[0]);
    head = Utf8.text(words[1]);
    cache = Utf8.text(words[2]);
    target = Utf8.text(words[3]);
    kernel = Utf8.text(words[4]);
    whyNoChat = words[5] == null ? null : Utf8.text(words[5]);
    vocabSize = sizes[0];
    contextLength = sizes[1];
    threads = sizes[2];
    canChat = sizes[3] != 0;
  }
}

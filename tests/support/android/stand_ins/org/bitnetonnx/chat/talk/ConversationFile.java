package org.bitnetonnx.chat.talk;

import android.content.Context;

/** What was saved last, also after the end of an Assistant. */
final class ConversationFile {
  private static Conversation saved;

  ConversationFile(Context context) {}

  Conversation read() {
    return saved == null ? null : new Conversation(saved);
  }

  void write(Conversation conversation) {
    saved = new Conversation(conversation);
  }
}

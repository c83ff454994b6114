package org.bitnetonnx.chat.talk;

/** What a person wrote and what was answered, as far as it was. */
public final class Turn {
  public final String user;
  public String answer;

  Turn(String user, String answer) {
    this.user = user;
    this.answer = answer;
  }
}

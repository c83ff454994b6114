package org.bitnetonnx.chat.talk;

import java.util.ArrayList;
import java.util.List;

/** The turns so far, after the system prompt with which they began. */
public final class Conversation {
  public final String system; // null: none
  public final List<Turn> turns = new ArrayList<>();

  Conversation(String system) {
    this.system = system;
  }

  /** A copy for another thread. */
  Conversation(Conversation from) {
    this(from.system);
    for (Turn turn : from.turns) {
      turns.add(new Turn(turn.user, turn.answer));
    }
  }

  /** Removes the last turn where it has no answer, and returns its message; else null. */
  String takeBackUnanswered() {
    int last = turns.size() - 1;
    return last >= 0 && turns.get(last).answer.isEmpty() ? turns.remove(last).user : null;
  }
}

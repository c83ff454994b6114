package org.bitnetonnx.chat.talk;

import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** The turns so far, after the system prompt with which they began. */
public final class Conversation {
  private static final int VERSION = 1;

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

  String toJson() {
    try {
      JSONArray listed = new JSONArray();
      for (Turn turn : turns) {
        listed.put(new JSONObject().put("user", turn.user).put("answer", turn.answer));
      }
      JSONObject object = new JSONObject().put("version", VERSION).put("turns", listed);
      return object.put("system", system).toString(); // null leaves it out
    } catch (JSONException error) {
      throw new AssertionError(error); // only a number that is not finite
    }
  }

  static Conversation fromJson(String text) throws JSONException {
    JSONObject object = new JSONObject(text);
    if (object.getInt("version") != VERSION) {
      throw new JSONException("version");
    }
    Conversation made =
        new Conversation(object.has("system") ? object.getString("system") : null);
    JSONArray listed = object.getJSONArray("turns");
    for (int i = 0; i < listed.length(); i++) {
      JSONObject turn = listed.getJSONObject(i);
      made.turns.add(new Turn(turn.getString("user"), turn.getString("answer")));
    }
    return made;
  }
}

package org.bitnetonnx.chat.talk;

import android.content.Context;
import android.util.AtomicFile;
import android.util.Log;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** The conversation in the app's storage: it goes on after the process was killed. */
final class ConversationFile {
  private static final int VERSION = 1;

  private final AtomicFile file;

  ConversationFile(Context context) {
    file = new AtomicFile(new File(context.getFilesDir(), "conversation.json"));
  }

  /** null where there is none, or where another version of the app wrote it. */
  Conversation read() {
    try {
      return fromJson(new String(file.readFully(), StandardCharsets.UTF_8));
    } catch (FileNotFoundException error) {
      return null;
    } catch (IOException | JSONException error) {
      Log.w("bitnet", "the saved conversation cannot be read", error);
      return null;
    }
  }

  void write(Conversation conversation) {
    FileOutputStream stream = null;
    try {
      stream = file.startWrite();
      stream.write(toJson(conversation).getBytes(StandardCharsets.UTF_8));
      file.finishWrite(stream);
    } catch (IOException error) { // no room: the conversation goes on unsaved
      Log.w("bitnet", "the conversation was not saved", error);
      if (stream != null) {
        file.failWrite(stream);
      }
    }
  }

  private static String toJson(Conversation conversation) {
    try {
      JSONArray listed = new JSONArray();
      for (Turn turn : conversation.turns) {
        listed.put(new JSONObject().put("user", turn.user).put("answer", turn.answer));
      }
      JSONObject object = new JSONObject().put("version", VERSION).put("turns", listed);
      return object.put("system", conversation.system).toString(); // null leaves it out
    } catch (JSONException error) {
      throw new AssertionError(error); // only a number that is not finite
    }
  }

  private static Conversation fromJson(String text) throws JSONException {
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

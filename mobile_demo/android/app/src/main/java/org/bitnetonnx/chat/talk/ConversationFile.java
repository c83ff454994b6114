package org.bitnetonnx.chat.talk;

import android.content.Context;
import android.util.AtomicFile;
import android.util.Log;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.json.JSONException;

/** The conversation in the app's storage: it goes on after the process was killed. */
final class ConversationFile {
  private final AtomicFile file;

  ConversationFile(Context context) {
    file = new AtomicFile(new File(context.getFilesDir(), "conversation.json"));
  }

  /** null where there is none, or where another version of the app wrote it. */
  Conversation read() {
    try {
      return Conversation.fromJson(new String(file.readFully(), StandardCharsets.UTF_8));
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
      stream.write(conversation.toJson().getBytes(StandardCharsets.UTF_8));
      file.finishWrite(stream);
    } catch (IOException error) { // no room: the conversation goes on unsaved
      Log.w("bitnet", "the conversation was not saved", error);
      if (stream != null) {
        file.failWrite(stream);
      }
    }
  }
}

package org.bitnetonnx.chat;

import android.app.Application;
import android.content.Context;
import org.bitnetonnx.chat.models.Imports;
import org.bitnetonnx.chat.models.ModelStore;
import org.bitnetonnx.chat.talk.Assistant;

/** What lives as long as the process, so that a rotation changes nothing. */
public final class App extends Application {
  private ModelStore store;
  private Imports imports;
  private Assistant assistant;

  @Override
  public void onCreate() {
    super.onCreate();
    store = new ModelStore(this);
    imports = new Imports(this, store);
    assistant = new Assistant(this, store);
  }

  public static App of(Context context) {
    return (App) context.getApplicationContext();
  }

  public ModelStore store() {
    return store;
  }

  public Imports imports() {
    return imports;
  }

  public Assistant assistant() {
    return assistant;
  }
}

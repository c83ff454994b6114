package org.bitnetonnx.chat.models;

import android.content.Context;
import android.net.Uri;
import android.os.Handler;
import android.os.Looper;
import android.os.SystemClock;
import java.io.IOException;
import org.bitnetonnx.chat.Watcher;

/** Copies a folder that the user picked, on a thread of its own, while screens come and go. */
public final class Imports {
  private static final long MILLISECONDS = 100; // between two reports

  private final Context context;
  private final ModelStore store;
  private final Handler main = new Handler(Looper.getMainLooper());
  private Watcher watcher;
  private boolean running;
  private volatile boolean cancelled;
  private int percent;
  private String imported; // the last model's name
  private String sentence; // why the last import failed

  public Imports(Context context, ModelStore store) {
    this.context = context;
    this.store = store;
  }

  /** null: the screen is gone. */
  public void watch(Watcher watcher) {
    this.watcher = watcher;
  }

  public boolean running() {
    return running;
  }

  public int percent() {
    return percent;
  }

  /** The name of the model that was imported, once. */
  public String takeImported() {
    String taken = imported;
    imported = null;
    return taken;
  }

  /** Why the import failed, once. */
  public String takeSentence() {
    String taken = sentence;
    sentence = null;
    return taken;
  }

  public void cancel() {
    cancelled = true;
  }

  public void start(final Uri tree, String wanted) {
    if (running) {
      return;
    }
    final String name = store.unused(wanted);
    running = true;
    cancelled = false;
    percent = 0;
    new Thread("import") {
      @Override
      public void run() {
        String why = null;
        try {
          Source from = new TreeSource(context.getContentResolver(), tree);
          new Copy(from, new Report()).to(store.folder(name));
        } catch (ModelException error) {
          why = error.getMessage();
        } catch (IOException | RuntimeException error) { // what another app's provider throws
          why = "the folder cannot be read: " + error.getMessage();
        }
        finish(name, why);
      }
    }.start();
  }

  private void finish(final String name, final String why) {
    main.post(
        new Runnable() {
          @Override
          public void run() {
            running = false;
            sentence = cancelled ? null : why;
            imported = why == null ? name : null;
            tell();
          }
        });
  }

  private void tell() {
    if (watcher != null) {
      watcher.changed();
    }
  }

  private final class Report implements Copy.Progress, Runnable {
    private long last;
    private volatile int reached;

    @Override
    public void at(long done, long all) throws ModelException {
      if (cancelled) {
        throw new ModelException("the import was cancelled");
      }
      long now = SystemClock.elapsedRealtime();
      if (now - last >= MILLISECONDS) {
        last = now;
        reached = (int) (100 * done / Math.max(all, 1));
        main.post(this);
      }
    }

    @Override
    public void run() {
      percent = reached;
      tell();
    }
  }
}

package android.os;

import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;

/** A thread that runs what is posted to it, one task after the other. */
public final class Looper {
  private static final Looper MAIN = new Looper("main looper");

  final ScheduledExecutorService tasks;

  Looper(String name) {
    tasks =
        Executors.newSingleThreadScheduledExecutor(
            task -> {
              Thread thread = new Thread(task, name);
              thread.setDaemon(true);
              return thread;
            });
  }

  public static Looper getMainLooper() {
    return MAIN;
  }

  public static boolean isMain() {
    return Thread.currentThread().getName().equals("main looper");
  }
}

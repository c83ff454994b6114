package android.os;

import java.util.concurrent.TimeUnit;

public final class Handler {
  private final Looper looper;

  public Handler(Looper looper) {
    this.looper = looper;
  }

  public void post(Runnable task) {
    postDelayed(task, 0);
  }

  public void postDelayed(Runnable task, long milliseconds) {
    Runnable loud =
        () -> {
          try {
            task.run();
          } catch (Throwable error) { // as an app, that would end
            error.printStackTrace();
            System.exit(1);
          }
        };
    looper.tasks.schedule(loud, milliseconds, TimeUnit.MILLISECONDS);
  }
}

package android.os;

public final class HandlerThread {
  public static Looper last; // the newest one's

  private final Looper looper;

  public HandlerThread(String name) {
    looper = new Looper(name);
    last = looper;
  }

  public void start() {}

  public Looper getLooper() {
    return looper;
  }
}

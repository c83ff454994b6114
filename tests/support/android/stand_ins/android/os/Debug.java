package android.os;

public final class Debug {
  private Debug() {}

  /** On a phone it takes so long that a screen would stand still. */
  public static long getPss() {
    if (Looper.isMain()) {
      throw new AssertionError("on the main thread");
    }
    return 1024;
  }
}

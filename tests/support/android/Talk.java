import android.content.Context;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.Looper;
import android.preference.PreferenceManager;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.bitnetonnx.chat.models.ModelStore;
import org.bitnetonnx.chat.talk.Assistant;
import org.bitnetonnx.chat.talk.Assistant.State;
import org.bitnetonnx.chat.talk.Turn;

/**
 * The app's conversation without a phone: its own classes, on stand-ins for those of Android.
 *
 * <p>Arguments: the artifact, and one whose template takes no system prompt and not the word "Ben".
 */
final class Talk {
  private static final String SUM = "What is 27 + 5?";
  private static final String BEN = "Ben has 84 stamps and buys 5 more. How many does Ben have?";

  private final ModelStore store = new ModelStore();
  private final Handler main = new Handler(Looper.getMainLooper());
  private Assistant assistant;

  public static void main(String[] arguments) throws Exception {
    Talk talk = new Talk();
    talk.store.selected = arguments[0];
    talk.restart();
    talk.answers();
    talk.stopsBeforeTheCall();
    talk.stopsDuringTheAnswer();
    talk.changesTheModelBeforeTheAnswer();
    talk.diesBeforeTheAnswer();
    talk.keepsWhatAModelCannotTake(arguments[0], arguments[1]);
    System.out.println("done");
  }

  /** As after the end of the process: what was saved is there. */
  private void restart() throws Exception {
    onMain(() -> assistant = new Assistant(new Context(), store));
    settle();
  }

  private void answers() throws Exception {
    check(ask(SUM).equals("32"));
    check(assistant.memory() == 1024 << 10 && assistant.stats().newIds > 1);
    check(ask(BEN).equals("89"));
  }

  /** The engine's conversation goes on as if nothing had been asked. */
  private void stopsBeforeTheCall() throws Exception {
    int before = assistant.stats().promptIds;
    CountDownLatch held = hold();
    onMain(
        () -> {
          assistant.send("Tell me a word.");
          assistant.stop();
        });
    check(assistant.state() == State.ANSWERING);
    held.countDown();
    settle();
    check(turns() == 2 && assistant.sentence() == null);
    check(assistant.takeUnsent().equals("Tell me a word.") && assistant.takeUnsent() == null);
    check(assistant.stats().promptIds == before); // of the last answer that was one
    check(ask(SUM).equals("32"));
    int went = assistant.stats().promptIds;
    newChat();
    ask(SUM);
    ask(BEN);
    ask(SUM);
    check(assistant.stats().promptIds == went);
  }

  private void stopsDuringTheAnswer() throws Exception {
    newChat();
    set("temperature", "100", "sampling", "on", "top_k", "0", "seed", "1", "max_new_tokens", "400");
    onMain(() -> assistant.send(SUM));
    await(() -> turns() == 1 && !assistant.conversation().turns.get(0).answer.isEmpty());
    onMain(assistant::stop);
    settle();
    check(turns() == 1 && assistant.takeUnsent() == null);
    check(assistant.stats().newIds > 0 && assistant.stats().newIds < 400);
    PreferenceManager.getDefaultSharedPreferences(null).values.clear();
  }

  private void changesTheModelBeforeTheAnswer() throws Exception {
    newChat();
    CountDownLatch held = hold();
    onMain(
        () -> {
          assistant.send(BEN);
          assistant.open();
        });
    held.countDown();
    settle();
    check(turns() == 0 && assistant.takeUnsent().equals(BEN));
    ask(SUM);
    int first = assistant.stats().promptIds;
    newChat();
    ask(SUM);
    check(assistant.stats().promptIds == first);
  }

  private void diesBeforeTheAnswer() throws Exception {
    newChat();
    ask(SUM);
    CountDownLatch held = hold();
    onMain(() -> assistant.send(BEN));
    onMain(assistant::save);
    restart();
    check(turns() == 1 && assistant.takeUnsent().equals(BEN));
    held.countDown();
    check(ask(BEN).equals("89"));
  }

  private void keepsWhatAModelCannotTake(String takes, String refuses) throws Exception {
    set("system", "Be brief.");
    newChat();
    ask(BEN);
    Turn turn = assistant.conversation().turns.get(0);
    store.selected = refuses;
    onMain(assistant::open);
    settle();
    check(assistant.state() == State.READY && turns() == 1);
    check(assistant.sentence().startsWith("The model does not remember what is above: "));
    check(ask(SUM).equals("32"));
    newChat();
    check(assistant.sentence().startsWith("The model goes on without the system prompt: "));
    PreferenceManager.getDefaultSharedPreferences(null).values.clear();
    onMain(() -> assistant.conversation().turns.add(0, turn));
    store.selected = takes;
    onMain(assistant::open);
    settle();
    check(assistant.sentence() == null && turns() == 1);
  }

  private int turns() {
    return assistant.conversation().turns.size();
  }

  /** Asks, and returns the answer. */
  private String ask(String text) throws Exception {
    onMain(() -> assistant.send(text));
    settle();
    check(assistant.takeUnsent() == null);
    return assistant.conversation().turns.get(turns() - 1).answer;
  }

  private void newChat() throws Exception {
    onMain(assistant::newChat);
    settle();
    check(turns() == 0);
  }

  private void settle() throws Exception {
    await(() -> assistant.state() != State.OPENING && assistant.state() != State.ANSWERING);
    check(assistant.state() == State.READY);
  }

  /** Makes the thread of the engine wait. */
  private static CountDownLatch hold() {
    CountDownLatch held = new CountDownLatch(1);
    new Handler(HandlerThread.last)
        .post(
            () -> {
              try {
                held.await();
              } catch (InterruptedException error) {
                throw new AssertionError(error);
              }
            });
    return held;
  }

  private static void set(String... pairs) {
    for (int i = 0; i < pairs.length; i += 2) {
      PreferenceManager.getDefaultSharedPreferences(null).values.put(pairs[i], pairs[i + 1]);
    }
  }

  private void await(BooleanSupplier condition) throws Exception {
    boolean[] met = {false};
    for (long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(2); !met[0]; Thread.sleep(5)) {
      check(System.nanoTime() < end);
      onMain(() -> met[0] = condition.getAsBoolean());
    }
  }

  private void onMain(Runnable task) throws InterruptedException {
    CountDownLatch done = new CountDownLatch(1);
    main.post(
        () -> {
          task.run();
          done.countDown();
        });
    done.await();
  }

  private static void check(boolean right) {
    if (!right) {
      throw new AssertionError();
    }
  }
}

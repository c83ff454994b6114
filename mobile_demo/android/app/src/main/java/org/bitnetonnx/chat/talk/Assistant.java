package org.bitnetonnx.chat.talk;

import android.content.Context;
import android.os.Handler;
import android.os.Looper;
import android.os.SystemClock;
import org.bitnetonnx.chat.Watcher;
import org.bitnetonnx.chat.models.ModelStore;
import org.bitnetonnx.edge.Description;
import org.bitnetonnx.edge.Stats;

/**
 * The conversation and who answers it. Its methods are called on the main thread; the engine runs on
 * a thread of its own, see Worker.
 */
public final class Assistant {
  /** What a screen may offer. */
  public enum State {
    OPENING,
    READY,
    ANSWERING,
    FAILED
  }

  private static final long SAVE_MILLISECONDS = 2000;

  private final ConversationFile file;
  private final Settings settings;
  private final Worker worker;
  private final Handler main = new Handler(Looper.getMainLooper());
  private Conversation conversation;
  private Watcher watcher;
  private State state = State.OPENING;
  private int task; // what an older task reports is not heard
  private int threads;
  private String sentence; // what went wrong
  private String unsent; // a message that got no answer
  private Description description;
  private Stats stats;
  private long memory;
  private long saved;

  public Assistant(Context context, ModelStore store) {
    file = new ConversationFile(context);
    settings = new Settings(context);
    worker = new Worker(store);
    conversation = file.read();
    if (conversation == null) {
      conversation = new Conversation(settings.system());
    }
    unsent = conversation.takeBackUnanswered(); // the process ended before there was an answer
    open();
  }

  /** null: the screen is gone. */
  public void watch(Watcher watcher) {
    this.watcher = watcher;
  }

  public State state() {
    return state;
  }

  public Conversation conversation() {
    return conversation;
  }

  /** null before a model is open. */
  public Description description() {
    return description;
  }

  /** How the last answer went; null before there is one. */
  public Stats stats() {
    return stats;
  }

  /** Bytes that this process took after the last answer. */
  public long memory() {
    return memory;
  }

  /** What went wrong last; null where nothing did. */
  public String sentence() {
    return sentence;
  }

  /** A message that got no answer, once, so that it need not be typed again. */
  public String takeUnsent() {
    String taken = unsent;
    unsent = null;
    return taken;
  }

  /** Opens the selected model, and gives it the conversation. */
  public void open() {
    worker.stop();
    if (state == State.ANSWERING) { // its end will not be heard
      unsent = conversation.takeBackUnanswered();
    }
    threads = settings.threads();
    begin(State.OPENING);
    description = null;
    worker.open(threads, new Conversation(conversation), new Opened(task));
  }

  /** Opens the model anew where another number of threads was set. */
  public void settingsChanged() {
    if (settings.threads() != threads) {
      open();
    }
  }

  public void newChat() {
    worker.stop();
    conversation = new Conversation(settings.system());
    stats = null;
    begin(State.OPENING);
    worker.start(conversation.system, new Opened(task));
    save();
  }

  public void send(String text) {
    if (state != State.READY) {
      return;
    }
    Turn turn = new Turn(text, "");
    conversation.turns.add(turn);
    begin(State.ANSWERING);
    worker.send(text, settings, new Answer(task, turn));
    save();
  }

  /** Ends the answer; what was said stays. */
  public void stop() {
    worker.stop();
  }

  public void save() {
    saved = SystemClock.elapsedRealtime();
    file.write(conversation);
  }

  private void begin(State next) {
    task++;
    state = next;
    sentence = null;
    tell();
  }

  private void tell() {
    if (watcher != null) {
      watcher.changed();
    }
  }

  /** A model or a new chat is there. */
  private final class Opened implements Worker.Opening {
    private final int mine;

    Opened(int mine) {
      this.mine = mine;
    }

    @Override
    public void opened(Description opened, String why) {
      if (mine != task) {
        return;
      }
      description = opened;
      state = opened == null ? State.FAILED : State.READY;
      sentence = why;
      tell();
    }
  }

  private final class Answer implements Worker.Answering {
    private final int mine;
    private final Turn turn;

    Answer(int mine, Turn turn) {
      this.mine = mine;
      this.turn = turn;
    }

    @Override
    public void piece(String text) {
      if (mine != task) {
        return;
      }
      turn.answer += text;
      if (SystemClock.elapsedRealtime() - saved > SAVE_MILLISECONDS) {
        save();
      }
      tell();
    }

    @Override
    public void answered(Stats finished, long bytes, String why) {
      if (mine != task) {
        return;
      }
      if (finished == null || finished.newIds == 0) { // then the engine has no such turn
        conversation.turns.remove(turn);
        unsent = turn.user;
      } else {
        stats = finished;
        memory = bytes;
      }
      sentence = why;
      state = State.READY;
      save();
      tell();
    }
  }
}

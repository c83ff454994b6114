package org.bitnetonnx.chat.talk;

import android.os.Debug;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.Looper;
import org.bitnetonnx.chat.models.ModelException;
import org.bitnetonnx.chat.models.ModelStore;
import org.bitnetonnx.edge.Description;
import org.bitnetonnx.edge.Engine;
import org.bitnetonnx.edge.EngineException;
import org.bitnetonnx.edge.Generation;
import org.bitnetonnx.edge.Pieces;
import org.bitnetonnx.edge.Stats;

/**
 * The engine on its own thread, one task after the other. Listeners are called on the main thread.
 * Knows no screen and keeps no conversation.
 */
final class Worker {
  /** Hears that a model, or a new chat with it, is there. */
  interface Opening {
    /** opened: null where no model is open. why: what went wrong, or null. */
    void opened(Description opened, String why);
  }

  /** Hears an answer. */
  interface Answering {
    void piece(String text);

    /**
     * stats: null where there is no answer; then why says what went wrong. memory: bytes that this
     * process takes.
     */
    void answered(Stats stats, long memory, String why);
  }

  // By its name: the system finds it inside the APK.
  private static final String ONNXRUNTIME = "libonnxruntime.so";

  private final ModelStore store;
  private final Handler main = new Handler(Looper.getMainLooper());
  private final Handler tasks;
  private volatile Engine engine; // null before a model is open
  private volatile PieceStream last; // the answer that was asked for last; null before there is one

  Worker(ModelStore store) {
    this.store = store;
    HandlerThread thread = new HandlerThread("engine");
    thread.start();
    tasks = new Handler(thread.getLooper());
  }

  /** Ends the answer in progress, also where it waits for its turn. */
  void stop() {
    PieceStream asked = last;
    if (asked != null) {
      asked.stopped = true;
    }
    Engine open = engine;
    if (open != null) {
      open.stop();
    }
  }

  /** Opens the selected model in place of the one that is open, and gives it a conversation. */
  void open(final int threads, final Conversation conversation, final Opening listener) {
    tasks.post(
        new Runnable() {
          @Override
          public void run() {
            String why = reopen(threads);
            report(listener, why == null ? restore(conversation) : why);
          }
        });
  }

  /** Starts a new chat. */
  void start(String system, Opening listener) {
    final Conversation empty = new Conversation(system);
    final Opening told = listener;
    tasks.post(
        new Runnable() {
          @Override
          public void run() {
            report(told, engine == null ? null : restore(empty));
          }
        });
  }

  void send(final String text, final Settings settings, final Answering listener) {
    final PieceStream pieces = new PieceStream(listener);
    last = pieces;
    tasks.post(
        new Runnable() {
          @Override
          public void run() {
            answer(text, settings, pieces);
          }
        });
  }

  /** Returns what went wrong, or null. */
  private String reopen(int threads) {
    if (engine != null) {
      engine.close();
      engine = null;
    }
    try {
      Engine opened = new Engine(store.open().getPath(), ONNXRUNTIME, null, threads);
      String whyNoChat = opened.describe().whyNoChat;
      if (whyNoChat != null) {
        opened.close();
        return whyNoChat;
      }
      engine = opened;
      return null;
    } catch (ModelException | EngineException error) {
      return error.getMessage();
    }
  }

  /** Returns what went wrong, or null. Then the engine has an empty conversation. */
  private String restore(Conversation conversation) {
    try {
      engine.startChat(conversation.system);
      for (Turn turn : conversation.turns) {
        engine.addTurn(turn.user, turn.answer);
      }
      return null;
    } catch (EngineException error) {
      startEmpty();
      String what =
          conversation.turns.isEmpty()
              ? "The model goes on without the system prompt: "
              : "The model does not remember what is above: ";
      return what + error.getMessage();
    }
  }

  private void startEmpty() {
    try {
      engine.startChat(null);
    } catch (EngineException error) {
      engine.close();
      engine = null;
    }
  }

  private void report(final Opening listener, final String why) {
    final Description opened = engine == null ? null : engine.describe();
    main.post(
        new Runnable() {
          @Override
          public void run() {
            listener.opened(opened, why);
          }
        });
  }

  private void answer(String text, Settings settings, final PieceStream pieces) {
    Stats finished = null;
    String sentence = null;
    try {
      Generation generation = settings.over(engine.defaults());
      finished = pieces.stopped ? Stats.stopped() : engine.send(text, generation, pieces);
    } catch (EngineException error) {
      sentence = error.getMessage();
    }
    final Stats stats = finished;
    final String why = sentence;
    final long memory = Debug.getPss() << 10; // the system counts it for milliseconds
    main.post(
        new Runnable() {
          @Override
          public void run() {
            pieces.run(); // what waits
            pieces.listener.answered(stats, memory, why);
          }
        });
  }

  /** Gathers pieces: a small model makes more of them in a second than a screen can show. */
  private final class PieceStream implements Pieces, Runnable {
    private static final long MILLISECONDS = 30;

    private final Answering listener;
    private final StringBuilder waiting = new StringBuilder();
    volatile boolean stopped; // the engine does not hear of a stop before the call

    PieceStream(Answering listener) {
      this.listener = listener;
    }

    @Override
    public synchronized boolean piece(String text) {
      if (waiting.length() == 0 && !text.isEmpty()) {
        main.postDelayed(this, MILLISECONDS);
      }
      waiting.append(text);
      return !stopped;
    }

    @Override
    public void run() {
      String text;
      synchronized (this) {
        text = waiting.toString();
        waiting.setLength(0);
      }
      if (!text.isEmpty()) {
        listener.piece(text);
      }
    }
  }
}

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bitnetonnx.edge.Engine;
import org.bitnetonnx.edge.EngineException;
import org.bitnetonnx.edge.Generation;
import org.bitnetonnx.edge.Pieces;
import org.bitnetonnx.edge.Stats;

/**
 * What crosses between Java and C: texts, sentences, exceptions, a stop, saved turns.
 *
 * <p>Arguments: the artifact, ONNX Runtime's library, and a file with a text in hex on each line.
 * Prints the ids of each text; everything else it checks itself.
 */
final class Crossing {
  private static final String QUESTION = "Of 53 and 62, which is bigger?";
  private static final String NEXT = "Ben has 84 stamps and buys 5 more. How many does Ben have?";

  private final Engine engine;
  private final Generation generation;

  private Crossing(Engine engine) {
    this.engine = engine;
    generation = engine.defaults();
    generation.doSample = false;
    generation.maxNewTokens = 32;
  }

  public static void main(String[] arguments) throws Exception {
    missing(arguments[1]);
    Engine opened = new Engine(arguments[0], arguments[1], null, 1);
    try (Engine engine = opened) {
      Crossing crossing = new Crossing(engine);
      crossing.texts(arguments[2]);
      crossing.mistakes();
      crossing.exceptions();
      crossing.stopStrings();
      crossing.stops();
      crossing.savedTurns();
    }
    opened.close(); // a second time does nothing
    opened.stop();
    try {
      opened.encode("", false);
      throw new AssertionError("a closed engine answered");
    } catch (IllegalStateException error) {
      check(error.getMessage().contains("closed"));
    }
  }

  private static void missing(String onnxruntime) {
    try (Engine engine = new Engine("no/such 🐣/folder", onnxruntime, null, 1)) {
      throw new AssertionError("opened " + engine);
    } catch (EngineException error) {
      check(error.code == EngineException.ARTIFACT && error.getMessage().contains("🐣"));
    }
  }

  private void texts(String file) throws IOException, EngineException {
    for (String line : Files.readAllLines(Paths.get(file))) {
      byte[] bytes = new byte[line.length() / 2];
      for (int i = 0; i < bytes.length; i++) {
        bytes[i] = (byte) Integer.parseInt(line.substring(2 * i, 2 * i + 2), 16);
      }
      String text = new String(bytes, StandardCharsets.UTF_8);
      check(engine.decode(engine.encode(text, false)).equals(text));
      System.out.println(Arrays.toString(engine.encode(text, true)).replaceAll("[\\[\\],]", ""));
    }
  }

  /** Each is refused, and the engine goes on. */
  private void mistakes() throws EngineException {
    refused(EngineException.ARGUMENT, "half \ud83d", generation);
    Generation negative = engine.defaults();
    negative.maxNewTokens = -1;
    refused(EngineException.ARGUMENT, QUESTION, negative);
    Generation cold = engine.defaults();
    cold.doSample = true;
    cold.temperature = -1;
    refused(EngineException.ARGUMENT, QUESTION, cold);
    Generation nul = engine.defaults();
    nul.stopStrings = new String[] {"a\0b"};
    refused(EngineException.ARGUMENT, QUESTION, nul);
    Generation missing = engine.defaults();
    missing.stopStrings = new String[] {"x", null};
    refused(EngineException.ARGUMENT, QUESTION, missing);
    StringBuilder huge = new StringBuilder();
    for (int i = 0; i < 20000; i++) {
      huge.append("stamps ");
    }
    refused(EngineException.CONTEXT, huge.toString(), generation);
  }

  private void refused(int code, String text, Generation asked) throws EngineException {
    engine.startChat(null);
    try {
      engine.send(text, asked, new Said());
    } catch (EngineException error) {
      check(error.code == code && !error.getMessage().isEmpty());
      return;
    }
    throw new AssertionError("not refused: " + text);
  }

  /** What a listener throws comes out of the call. */
  private void exceptions() throws EngineException {
    engine.startChat(null);
    Pieces broken =
        new Pieces() {
          @Override
          public boolean piece(String text) {
            throw new UnsupportedOperationException("mine");
          }
        };
    try {
      engine.send(QUESTION, generation, broken);
      throw new AssertionError("nothing was thrown");
    } catch (UnsupportedOperationException error) {
      check(error.getMessage().equals("mine"));
    }
  }

  private void stopStrings() throws EngineException {
    engine.startChat(null);
    Said whole = new Said();
    engine.send(QUESTION, generation, whole);
    check(whole.text.length() > 1);
    String last = whole.text.substring(whole.text.length() - 1);
    Generation asked = engine.defaults();
    asked.doSample = false;
    asked.stopStrings = new String[1000];
    Arrays.fill(asked.stopStrings, "never");
    asked.stopStrings[999] = last;
    engine.startChat(null);
    Said cut = new Said();
    Stats stats = engine.send(QUESTION, asked, cut);
    check(stats.finish == Stats.STOP_STRING);
    check(cut.text.toString().equals(whole.text.substring(0, whole.text.indexOf(last))));
  }

  private void stops() throws EngineException {
    engine.startChat(null);
    Pieces first =
        new Pieces() {
          @Override
          public boolean piece(String text) {
            return false;
          }
        };
    check(engine.send(QUESTION, generation, first).finish == Stats.STOPPED);
    engine.startChat(null);
    Pieces other =
        new Pieces() {
          @Override
          public boolean piece(String text) {
            Thread thread =
                new Thread() {
                  @Override
                  public void run() {
                    engine.stop();
                  }
                };
            thread.start();
            try {
              thread.join();
            } catch (InterruptedException error) {
              throw new AssertionError(error);
            }
            return true;
          }
        };
    check(engine.send(QUESTION, generation, other).finish == Stats.STOPPED);
  }

  /** A conversation that was saved goes on as one that was not interrupted. */
  private void savedTurns() throws EngineException {
    engine.startChat("Be brief.");
    Said said = new Said();
    engine.send(QUESTION, generation, said);
    Stats going = engine.send(NEXT, generation, new Said());
    List<Integer> expected = list(engine.answerIds());
    engine.startChat("Be brief.");
    engine.addTurn(QUESTION, said.text.toString());
    Stats restored = engine.send(NEXT, generation, new Said());
    check(restored.promptIds == going.promptIds);
    check(list(engine.answerIds()).equals(expected));
    check(going.reusedIds > 0);
  }

  private static List<Integer> list(int[] ids) {
    List<Integer> made = new ArrayList<>();
    for (int id : ids) {
      made.add(id);
    }
    return made;
  }

  private static void check(boolean right) {
    if (!right) {
      throw new AssertionError();
    }
  }

  private static final class Said implements Pieces {
    final StringBuilder text = new StringBuilder();

    @Override
    public boolean piece(String piece) {
      text.append(piece);
      return true;
    }
  }
}

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import org.bitnetonnx.edge.Engine;
import org.bitnetonnx.edge.EngineException;
import org.bitnetonnx.edge.Generation;
import org.bitnetonnx.edge.Pieces;

/**
 * Answers questions with the app's own class. Prints the kernel, and a line of ids for each question.
 *
 * <p>Arguments: the artifact, ONNX Runtime's library, and a file of questions that end with NUL.
 */
final class Replay {
  public static void main(String[] arguments) throws IOException, EngineException {
    byte[] bytes = Files.readAllBytes(Paths.get(arguments[2]));
    String[] questions = new String(bytes, StandardCharsets.UTF_8).split("\0");
    PrintStream out = new PrintStream(System.out, false, "UTF-8");
    try (Engine engine = new Engine(arguments[0], arguments[1], null, 1)) {
      out.println(engine.describe().kernel);
      Generation generation = engine.defaults();
      generation.doSample = false;
      generation.maxNewTokens = 32;
      for (String question : questions) {
        final StringBuilder said = new StringBuilder();
        Pieces pieces =
            new Pieces() {
              @Override
              public boolean piece(String text) {
                said.append(text);
                return true;
              }
            };
        engine.startChat(null);
        engine.send(question, generation, pieces);
        int[] ids = engine.answerIds();
        if (!said.toString().equals(engine.decode(ids))) {
          throw new AssertionError("the pieces of an answer are not its text: " + said);
        }
        StringBuilder line = new StringBuilder();
        for (int id : ids) {
          line.append(line.length() == 0 ? "" : " ").append(id);
        }
        out.println(line);
      }
    }
    out.flush();
  }
}

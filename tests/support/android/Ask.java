import java.nio.charset.StandardCharsets;
import org.bitnetonnx.edge.Engine;
import org.bitnetonnx.edge.Stats;

/**
 * One question, with the options that the artifact asks for. Prints how the answer ended, and its
 * text in hex.
 *
 * <p>Arguments: the artifact, ONNX Runtime's library, the question.
 */
final class Ask {
  public static void main(String[] arguments) throws Exception {
    StringBuilder said = new StringBuilder();
    try (Engine engine = new Engine(arguments[0], arguments[1], null, 1)) {
      engine.startChat(null);
      Stats stats =
          engine.send(
              arguments[2],
              engine.defaults(),
              piece -> {
                said.append(piece);
                return true;
              });
      System.out.println(stats.finish);
    }
    for (byte each : said.toString().getBytes(StandardCharsets.UTF_8)) {
      System.out.printf("%02x", each);
    }
    System.out.println();
  }
}

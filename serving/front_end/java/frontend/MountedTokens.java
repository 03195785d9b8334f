package frontend;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.pytorch.serve.util.TokenAuthorization;

/**
 * Inference tokens that do not expire: the lines of a file that the operator names (inference_token_file), for clients
 * that cannot renew theirs. The file is read again when a second has passed, so that another can be mounted in its place.
 */
final class MountedTokens {
    private static final long AGE_NS = TimeUnit.SECONDS.toNanos(1);
    private static final int LEAST = 32; // characters (SHORTEST_TOKEN in serving/config.py)

    private static List<byte[]> tokens = List.of();
    private static long readAt;
    private static boolean read;

    private MountedTokens() {}

    /** Whether an Authorization header holds one of them. */
    static boolean hold(String authorization) {
        if (Settings.TOKEN_FILE == null || authorization == null) {
            return false;
        }
        byte[] given = TokenAuthorization.parseTokenFromBearerTokenHeader(authorization).getBytes(StandardCharsets.UTF_8);
        boolean known = false;
        for (byte[] token : current()) {
            known |= MessageDigest.isEqual(token, given);
        }
        return known;
    }

    private static synchronized List<byte[]> current() {
        if (!read || System.nanoTime() - readAt > AGE_NS) {
            read = true;
            readAt = System.nanoTime();
            tokens = lines();
        }
        return tokens;
    }

    /** The file's tokens; none if it cannot be read. */
    private static List<byte[]> lines() {
        try {
            return Files.readAllLines(Path.of(Settings.TOKEN_FILE)).stream().map(String::strip)
                    .filter(line -> line.length() >= LEAST).map(line -> line.getBytes(StandardCharsets.UTF_8))
                    .collect(Collectors.toList());
        } catch (IOException gone) {
            return List.of();
        }
    }
}

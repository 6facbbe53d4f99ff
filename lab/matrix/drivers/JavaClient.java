// Java's HttpClient: jobs come as lines on standard input, what the client showed goes out as lines of JSON. The JDK reads
// no JSON, so a line is the fields of a job between tabs, and the body that is posted is one of them, ready made.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

public class JavaClient {
    public static void main(String[] arguments) throws Exception {
        say("{\"versions\": {\"java\": \"" + Runtime.version() + "\"}}");
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            var fields = line.split("\t");
            new Thread(() -> answer(fields[0], fields[1], fields[2], fields[3], Path.of(fields[4]))).start();
        }
    }

    static void answer(String id, String front, String key, String body, Path bodyFile) {
        var request = HttpRequest.newBuilder(URI.create(front + "/v1/images/generations"))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        try {
            var response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            Files.writeString(bodyFile, response.body());
            say("{\"id\": " + quoted(id) + ", \"status\": " + response.statusCode() + ", \"protocol\": "
                + quoted(response.version().toString()) + "}");
        } catch (Exception problem) {
            say("{\"id\": " + quoted(id) + ", \"error\": {\"class\": " + quoted(problem.getClass().getSimpleName())
                + ", \"message\": " + quoted(String.valueOf(problem.getMessage())) + "}}");
        }
    }

    static String quoted(String text) {
        var out = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            out.append(each < ' ' || each == '"' || each == '\\' ? String.format("\\u%04x", (int) each) : each);
        }
        return out.append('"').toString();
    }

    static synchronized void say(String line) {
        System.out.println(line);
    }
}

import java.io.FileInputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Drives Java's own HttpClient through the proxy; each case is a line in JSON. It knows proxies by HTTP in the clear only. */
public class Client {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final Pattern IP = Pattern.compile("\"ip\":\"([^\"]*)\"");

    /** A way to write a login, with the exit that it must lead to; none where the login is wrong. */
    record Login(String where, String user, String password, String ip) {
        boolean isWrong() {
            return ip.isEmpty();
        }
    }

    /** Arguments: proxy, HTTP and HTTPS targets, CA file, key, then {@code country=address} three times. */
    public static void main(String[] arguments) throws Exception {
        String[] address = arguments[0].split(":");
        InetSocketAddress proxy = new InetSocketAddress(address[0], Integer.parseInt(address[1]));
        SSLContext trust = trust(arguments[3]);
        String key = arguments[4];
        String[] us = arguments[5].split("=");
        String[] de = arguments[6].split("=");
        String[] il = arguments[7].split("=");
        Login[] logins = {
            new Login("targeting in the password", "iploop", key + "-country-" + us[0], us[1]),
            new Login("targeting in the user name", key + "-country-" + de[0], "x", de[1]),
            new Login("targeting in the user name, key in the password", "iploop-country-" + il[0], key, il[1]),
            new Login("a wrong password", "iploop", "iploop_" + "0f".repeat(24), ""),
        };
        for (Login login : logins) {
            for (String url : new String[] {arguments[1], arguments[2]}) {
                ask(proxy, trust, login, url);
            }
        }
    }

    private static void ask(InetSocketAddress proxy, SSLContext trust, Login login, String url) {
        String name = url.split(":")[0].toUpperCase() + " by http, " + login.where();
        try {
            HttpClient client = HttpClient.newBuilder()
                .proxy(ProxySelector.of(proxy))
                .authenticator(new Authenticator() {
                    @Override
                    protected PasswordAuthentication getPasswordAuthentication() {
                        return new PasswordAuthentication(login.user(), login.password().toCharArray());
                    }
                })
                .sslContext(trust)
                .connectTimeout(TIMEOUT)
                .build();
            HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(TIMEOUT).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            var found = IP.matcher(answer.body());
            String ip = found.find() ? found.group(1) : "";
            boolean served = answer.statusCode() == 200 && ip.equals(login.ip());
            report(name, login.isWrong() ? answer.statusCode() == 407 : served, answer.statusCode(), ip, "");
        } catch (Exception error) {
            // It asks its Authenticator three times, and what that has to say is always the same.
            boolean refused = error.toString().contains("too many authentication attempts");
            report(name, login.isWrong() && refused, 0, "", error.toString());
        }
    }

    private static SSLContext trust(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    private static void report(String name, boolean ok, int status, String ip, String detail) {
        String safe = detail.replace("\\", "/").replace("\"", "'").replace("\n", " ");
        System.out.printf(
            "{\"client\":\"HttpClient\",\"case\":\"%s\",\"ok\":%b,\"status\":%d,\"exit_ip\":\"%s\",\"detail\":\"%s\"}%n",
            name, ok, status, ip, safe);
    }
}

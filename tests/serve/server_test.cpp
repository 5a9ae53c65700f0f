#include "redoubt/serve/server.hpp"

#include <arpa/inet.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "lifecycle/sample.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/serve/admission.hpp"
#include "redoubt/serve/observer.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "serve/infer.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using nlohmann::json;
using redoubt::test::sample_model;
using redoubt::test::sample_rows;
using Clock_ = std::chrono::steady_clock;

namespace {

/// The infer request that asks for rows [0, n) of `data` as one input per feature column.
json columns_request(const Model& model, const Dataset& data, std::size_t n) {
  json inputs = json::array();
  for (const auto& spec : model.schema().columns()) {
    const auto& column = data.column(spec.name);
    json values = json::array();
    for (std::size_t i = 0; i < n; ++i) {
      if (column.missing(i))
        values.push_back(nullptr);
      else if (spec.type == ColumnType::numeric)
        values.push_back(column.numbers[i]);
      else if (spec.type == ColumnType::timestamp)
        values.push_back(column.times[i]);
      else
        values.push_back(column.to_text(i));
    }
    inputs.push_back({{"name", spec.name}, {"datatype", detail::datatype_of(spec)}, {"shape", {n}}, {"data", values}});
  }
  return {{"id", "call-7"}, {"inputs", inputs}};
}

json rows_request(const Model& model, const Dataset& data, std::size_t n) {
  json values = json::array();
  std::vector<float> raw(model.inputs());
  for (std::size_t i = 0; i < n; ++i) {
    model.encoder().raw_row(data.row(i), raw);
    values.push_back(raw);
  }
  return {{"inputs", {{{"name", "rows"}, {"datatype", "FP32"}, {"shape", {n, raw.size()}}, {"data", values}}}}};
}

/// The numbers of an output, read as float from the very text of the answer.
std::vector<float> floats_of(const std::string& body, const std::string& output) {
  auto at = body.find("\"name\":\"" + output + "\"");
  REQUIRE(at != std::string::npos);
  at = body.find("\"data\":[", at) + 8;
  std::vector<float> values;
  while (body[at] != ']') {
    float value = 0;
    const auto [end, error] = std::from_chars(body.data() + at, body.data() + body.size(), value);
    REQUIRE(error == std::errc());
    values.push_back(value);
    at = static_cast<std::size_t>(end - body.data());
    if (body[at] == ',') ++at;
  }
  return values;
}

class Recorder final : public Observer {
 public:
  void observe(std::string_view caller, std::span<const float> raw) noexcept override {
    const std::lock_guard lock(mutex);
    rows.emplace_back(std::string(caller), std::vector<float>(raw.begin(), raw.end()));
  }
  void observe(std::string_view caller, const RowView& row) noexcept override {
    const std::lock_guard lock(mutex);
    texts.emplace_back(std::string(caller), row.dataset().column(0).to_text(row.index()));
  }
  std::mutex mutex;
  std::vector<std::pair<std::string, std::vector<float>>> rows;
  std::vector<std::pair<std::string, std::string>> texts;
};

/// A bare TCP connection, for what a proper client would not send.
class Raw {
 public:
  explicit Raw(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    const timeval limit{8, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~Raw() { ::close(fd_); }
  bool send(std::string_view text) {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  /// Everything until the server closes; "TIMEOUT" if it does not.
  std::string read_all() {
    std::string all;
    char buffer[4096];
    for (;;) {
      const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n == 0) return all;
      if (n < 0) return errno == EAGAIN ? "TIMEOUT" : all;
      all.append(buffer, static_cast<std::size_t>(n));
    }
  }

 private:
  int fd_;
};

httplib::Client client_of(const Server& server) {
  httplib::Client client("127.0.0.1", server.port());
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  client.set_read_timeout(10);
  return client;
}

struct Fixture {
  Dataset data = sample_rows(64, 2);
  Model model = sample_model(sample_rows(400, 1)).with_lineage("run-1");
};

}  // namespace

TEST_CASE("health and metadata follow the protocol") {
  const Fixture f;
  Server server;
  auto client = client_of(server);
  CHECK(client.Get("/v2/health/live")->status == 200);
  CHECK(client.Get("/v2/health/ready")->status == 503);
  server.set_model("reviews", f.model, "3");
  CHECK(client.Get("/v2/health/ready")->status == 200);
  for (const char* path : {"/v2", "/v2/"}) {
    const auto about = json::parse(client.Get(path)->body);
    CHECK(about["name"] == "redoubt");
    CHECK(about["extensions"].is_array());
  }
  for (const char* path : {"/v2/models/reviews", "/v2/models/reviews/versions/3"}) {
    const auto answer = client.Get(path);
    CHECK(answer->get_header_value("Content-Type") == "application/json");
    const auto metadata = json::parse(answer->body);
    CHECK(metadata["name"] == "reviews");
    CHECK(metadata["versions"] == json{"3"});
    REQUIRE(metadata["inputs"].size() == 3);
    CHECK(metadata["inputs"][0] == json{{"name", "stars"}, {"datatype", "FP64"}, {"shape", {-1}}});
    CHECK(metadata["inputs"][2]["datatype"] == "BYTES");
    CHECK(metadata["outputs"][0] == json{{"name", "probabilities"}, {"datatype", "FP32"}, {"shape", {-1, 2}}});
  }
  CHECK(client.Get("/v2/models/reviews/ready")->status == 200);
  CHECK(client.Head("/v2/health/live")->status == 200);

  const std::vector<std::pair<std::string, int>> wrong{
      {"/v2/models/other", 404}, {"/v2/models/other/ready", 404},   {"/v2/models/reviews/versions/9", 404},
      {"/nothing", 404},         {"/v2/models/reviews/infer", 405}, {"/v2/models", 404},
      {"/v2/health/other", 404}};
  for (const auto& [path, status] : wrong) {
    INFO(path);
    const auto answer = client.Get(path);
    CHECK(answer->status == status);
    CHECK(json::parse(answer->body)["error"].is_string());
  }
  CHECK(client.Post("/v2/health/live", "{}", "application/json")->status == 405);
  server.remove_model("reviews");
  CHECK(client.Get("/v2/models/reviews")->status == 404);
}

TEST_CASE("served answers have the bits of in-process ones") {
  const Fixture f;
  Recorder recorder;
  Server server({.observer = &recorder});
  server.set_model("reviews", f.model, "3");
  auto client = client_of(server);
  const std::size_t n = f.data.rows();
  const auto expected = f.model.predict_proba(f.data);

  const auto answer =
      client.Post("/v2/models/reviews/infer", columns_request(f.model, f.data, n).dump(), "application/json");
  REQUIRE(answer->status == 200);
  const auto body = json::parse(answer->body);
  CHECK(body["model_name"] == "reviews");
  CHECK(body["model_version"] == "3");
  CHECK(body["id"] == "call-7");
  CHECK(body["parameters"]["lineage_id"] == "run-1");
  CHECK(body["parameters"]["model_hash"] == f.model.hash());
  CHECK(body["outputs"][0]["shape"] == json{n, 2});
  CHECK(body["outputs"][0]["parameters"]["classes"] == json(f.model.classes()));
  const auto served = floats_of(answer->body, "probabilities");
  REQUIRE(served.size() == expected.size());
  CHECK(std::memcmp(served.data(), expected.data(), served.size() * sizeof(float)) == 0);
  const auto words = f.model.predict(f.data);
  for (std::size_t i = 0; i < n; ++i) CHECK(body["outputs"][1]["data"][i] == words[i].label);

  const auto raw =
      client.Post("/v2/models/reviews/versions/3/infer", rows_request(f.model, f.data, n).dump(), "application/json");
  REQUIRE(raw->status == 200);
  const auto raw_served = floats_of(raw->body, "probabilities");
  std::vector<float> row(f.model.inputs()), out(2);
  for (std::size_t i = 0; i < n; ++i) {
    f.model.encoder().raw_row(f.data.row(i), row);
    REQUIRE(f.model.predict(row, out) == errc::ok);
    CHECK(std::memcmp(out.data(), raw_served.data() + 2 * i, 2 * sizeof(float)) == 0);
  }
  REQUIRE(recorder.rows.size() == 2 * n);
  CHECK(recorder.rows[0].first == "127.0.0.1");
  CHECK(recorder.rows[0].second == recorder.rows[n].second);
  CHECK(server.stats().rows == 2 * n);
  CHECK(server.stats().requests == 2);
  CHECK(server.stats().failures == 0);
}

TEST_CASE("nested data, shapes with a trailing one, integer types, nulls and chosen outputs") {
  const Fixture f;
  Server server;
  server.set_model("m", f.model);
  auto client = client_of(server);
  const auto post = [&](const json& body) {
    return client.Post("/v2/models/m/infer", body.dump(), "application/json");
  };
  const json request{{"inputs",
                      {{{"name", "stars"}, {"datatype", "INT32"}, {"shape", {2, 1}}, {"data", {{4}, {nullptr}}}},
                       {{"name", "length"}, {"datatype", "FP32"}, {"shape", {2}}, {"data", {0.5, 1}}},
                       {{"name", "country"}, {"datatype", "BYTES"}, {"shape", {2}}, {"data", {"fr", "unknown"}}}}},
                     {"outputs", {{{"name", "label"}}}}};
  const auto answer = post(request);
  INFO(answer->body);
  REQUIRE(answer->status == 200);
  const auto body = json::parse(answer->body);
  CHECK_FALSE(body.contains("id"));
  REQUIRE(body["outputs"].size() == 1);
  CHECK(body["outputs"][0]["name"] == "label");
  auto bad = request;
  bad["outputs"][0]["name"] = "logits";
  CHECK(post(bad)->status == 400);
}

TEST_CASE("text columns and regression are served, too") {
  Column review{{"review", ColumnType::text}, {}, {}, {}, {}};
  Column good{{"good", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
  for (int i = 0; i < 60; ++i) {
    review.texts.push_back(i % 2 ? "great <b>\"fine\"</b> caf\u00e9" : "bad broken");
    good.codes.push_back(i % 2);
  }
  const Dataset data({review, good});
  Recorder recorder;
  Server server({.observer = &recorder});
  const auto model = sample_model(data);
  server.set_model("text", model);
  auto client = client_of(server);
  auto answer = client.Post("/v2/models/text/infer", columns_request(model, data, 4).dump(), "application/json");
  REQUIRE(answer->status == 200);
  const auto served = floats_of(answer->body, "probabilities");
  const auto expected = model.predict_proba(data);
  CHECK(std::memcmp(served.data(), expected.data(), served.size() * sizeof(float)) == 0);
  REQUIRE(recorder.texts.size() == 4);
  CHECK(recorder.texts[0].second == "bad broken");
  const json raw{{"inputs", {{{"name", "rows"}, {"datatype", "FP32"}, {"shape", {1, 1}}, {"data", {0}}}}}};
  CHECK(client.Post("/v2/models/text/infer", raw.dump(), "application/json")->status == 501);

  Column x{{"x"}, {}, {}, {}, {}}, y{{"y", ColumnType::numeric, ColumnRole::target}, {}, {}, {}, {}};
  for (int i = 0; i < 50; ++i) x.numbers.push_back(i), y.numbers.push_back(2 * i + 1);
  const Dataset line({x, y});
  const auto ridge = Ridge{}.fit(line);
  server.set_model("line", ridge);
  answer = client.Post("/v2/models/line/infer", columns_request(ridge, line, 50).dump(), "application/json");
  REQUIRE(answer->status == 200);
  const auto values = floats_of(answer->body, "value");
  const auto wanted = ridge.predict_proba(line);
  CHECK(std::memcmp(values.data(), wanted.data(), values.size() * sizeof(float)) == 0);
}

TEST_CASE("spambase is served with the bits of in-process predictions") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const auto [train, test] = read_arff(path).split(0.2, 7);
  const auto model = GradientBoosting{{.trees = 30}}.fit(train);
  Server server;
  server.set_model("spam", model);
  auto client = client_of(server);
  const auto answer =
      client.Post("/v2/models/spam/infer", columns_request(model, test, test.rows()).dump(), "application/json");
  REQUIRE(answer);
  REQUIRE(answer->status == 200);
  const auto served = floats_of(answer->body, "probabilities");
  const auto expected = model.predict_proba(test);
  REQUIRE(served.size() == expected.size());
  CHECK(std::memcmp(served.data(), expected.data(), served.size() * sizeof(float)) == 0);
}

TEST_CASE("bad requests get a 4xx with a reason, and the connection goes on") {
  const Fixture f;
  Server server({.max_rows = 100});
  server.set_model("m", f.model);
  auto client = client_of(server);
  const auto good = columns_request(f.model, f.data, 2);
  const auto change = [&](const std::function<void(json&)>& edit) {
    json copy = good;
    edit(copy);
    return copy.dump();
  };
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"[]", "must be a JSON object"},
      {"{}", "\"inputs\" must be a list"},
      {R"({"inputs": []})", "empty"},
      {R"({"inputs": [5]})", "must be an object"},
      {change([](json& j) { j["id"] = 5; }), "\"id\""},
      {change([](json& j) { j["inputs"].erase(1); }), "missing: \"length\""},
      {change([](json& j) { j["inputs"][1]["name"] = "stars"; }), "given twice"},
      {change([](json& j) { j["inputs"][1]["name"] = "lenght"; }), "no such column"},
      {change([](json& j) { j["inputs"].push_back(j["inputs"][0]); }), "given twice"},
      {change([](json& j) { j["inputs"][0]["datatype"] = "FP80"; }), "FP80"},
      {change([](json& j) { j["inputs"][0]["datatype"] = "BYTES"; }), "the column is numeric"},
      {change([](json& j) { j["inputs"][2]["datatype"] = "FP32"; }), "the column is categorical"},
      {change([](json& j) { j["inputs"][0]["shape"] = {3}; }), "holds 2"},
      {change([](json& j) { j["inputs"][0]["shape"] = {1}; }), "holds 2"},
      {change([](json& j) { j["inputs"][0]["shape"] = {-2}; }), "non-negative"},
      {change([](json& j) {
         j["inputs"][0]["shape"] = {2, 2};
       }),
       "[rows, 1]"},
      {change([](json& j) { j["inputs"][0]["shape"] = json::array(); }), "empty"},
      {change([](json& j) {
         j["inputs"][0]["shape"] = {0};
         j["inputs"][0]["data"] = json::array();
       }),
       "no rows"},
      {change([](json& j) {
         j["inputs"][0]["shape"] = {4000000000, 4000000000};
       }),
       "more than"},
      {change([](json& j) {
         j["inputs"][0]["data"] = {"x", 1};
       }),
       "not a number"},
      {change([](json& j) {
         j["inputs"][0]["data"] = {json::array({json::array({json::array({json::array({1})})})}), 1};
       }),
       "nested too deeply"},
      {change([](json& j) {
         j["inputs"][0]["datatype"] = "INT8";
         j["inputs"][0]["data"] = {1.5, 1};
       }),
       "not a whole number"},
      {change([](json& j) {
         j["inputs"][0]["datatype"] = "FP32";
         j["inputs"][0]["data"] = {1e300, 1};
       }),
       "does not fit"},
      {change([](json& j) {
         j["inputs"][2]["data"] = {1, 2};
       }),
       "must hold texts"},
      {columns_request(f.model, sample_rows(200, 3), 101).dump(), "at most 100"},
      {R"({"inputs": [{"name": "rows", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})", "[rows, 3]"},
  };
  for (const auto& [body, reason] : cases) {
    INFO(body.substr(0, 300));
    const auto answer = client.Post("/v2/models/m/infer", body, "application/json");
    REQUIRE(answer);
    INFO(answer->body);
    CHECK(answer->status == 400);
    CHECK(json::parse(answer->body)["error"].get<std::string>().find(reason) != std::string::npos);
  }
  CHECK(
      client.Post("/v2/models/m/infer", {{"Inference-Header-Content-Length", "2"}}, "{}", "application/json")->status ==
      501);
  CHECK(client.Post("/v2/models/m/infer", good.dump(), "application/json")->status == 200);
  CHECK(server.stats().failures == cases.size() + 1);
}

TEST_CASE("oversized, broken and slow connections do not hurt the others") {
  const Fixture f;
  Server server({.threads = 1, .max_body = 2000, .max_header = 1000, .header_timeout_ms = 400, .body_timeout_ms = 400});
  server.set_model("m", f.model);
  auto client = client_of(server);

  const auto big = client.Post("/v2/models/m/infer", std::string(5000, ' '), "application/json");
  REQUIRE(big);
  CHECK(big->status == 413);
  CHECK(client.Get("/v2", {{"X-Long", std::string(3000, 'x')}})->status == 431);
  {
    Raw raw(server.port());
    raw.send("this is not http at all\r\n\r\n");
    CHECK(raw.read_all().find("HTTP/1.1 400") == 0);
  }
  {
    Raw raw(server.port());
    raw.send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0", 14));  // a TLS hello
    CHECK(raw.read_all() != "TIMEOUT");
  }
  {
    Raw raw(server.port());
    raw.send("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    CHECK(raw.read_all().find("HTTP/1.1 413") == 0);
  }
  // Slow senders: one byte at a time of a header, then of a body; both are cut off by the deadline, not by silence.
  std::vector<std::unique_ptr<Raw>> slow;
  for (int i = 0; i < 20; ++i) slow.push_back(std::make_unique<Raw>(server.port()));
  for (auto& raw : slow) raw->send("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n");
  slow[0]->send("Content-Length: 100\r\n\r\n{");
  const auto start = Clock_::now();
  std::thread trickle([&] {
    while (Clock_::now() - start < std::chrono::milliseconds(900)) {
      for (std::size_t i = 0; i < slow.size(); ++i) slow[i]->send(i ? "X" : " ");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  for (int i = 0; i < 20; ++i) {
    const auto asked = Clock_::now();
    const auto answer = client.Get("/v2/health/live");
    REQUIRE(answer);
    CHECK(answer->status == 200);
    CHECK(Clock_::now() - asked < std::chrono::milliseconds(500));
  }
  trickle.join();
  for (auto& raw : slow) CHECK(raw->read_all() != "TIMEOUT");
  // An idle connection is closed as well.
  Raw idle(server.port());
  CHECK(idle.read_all().empty());
}

TEST_CASE("connections beyond the limit are closed") {
  Server server({.max_connections = 2});
  auto a = client_of(server), b = client_of(server);
  CHECK(a.Get("/v2")->status == 200);
  CHECK(b.Get("/v2")->status == 200);
  Raw third(server.port());
  third.send("GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(third.read_all().empty());
  CHECK(a.Get("/v2")->status == 200);
}

TEST_CASE("keep-alive and pipelined requests are answered in order") {
  Server server;
  Raw raw(server.port());
  raw.send(
      "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const auto all = raw.read_all();
  const auto live = all.find("{\"live\":true}"), missing = all.find("404"), about = all.find("\"name\":\"redoubt\"");
  CHECK(live < missing);
  CHECK(missing < about);
  CHECK(about != std::string::npos);
}

TEST_CASE("the caller comes from a trusted header, else from the address") {
  const Fixture f;
  Recorder recorder;
  Server server({.caller_header = "X-Account", .observer = &recorder});
  server.set_model("m", f.model);
  auto client = client_of(server);
  const auto body = rows_request(f.model, f.data, 1).dump();
  client.Post("/v2/models/m/infer", {{"X-Account", "anna"}}, body, "application/json");
  client.Post("/v2/models/m/infer", body, "application/json");
  REQUIRE(recorder.rows.size() == 2);
  CHECK(recorder.rows[0].first == "anna");
  CHECK(recorder.rows[1].first == "127.0.0.1");
}

TEST_CASE("a gatekeeper sees caller, authorisation and rows, and its refusals are answered") {
  struct Keys final : Gatekeeper {
    Admission admit(const AdmissionRequest& request) noexcept override {
      if (request.caller != "anna" || request.model != "m" || request.rows != 2) return Admission::limited;
      return request.authorization == "Bearer good" ? Admission::allowed
             : request.authorization.empty()        ? Admission::unauthenticated
                                                    : Admission::forbidden;
    }
  } keys;
  const Fixture f;
  Recorder recorder;
  Server server({.caller_header = "X-Account", .observer = &recorder, .gatekeeper = &keys});
  server.set_model("m", f.model);
  auto client = client_of(server);
  const auto status = [&](std::size_t rows, const httplib::Headers& headers) {
    return client.Post("/v2/models/m/infer", headers, rows_request(f.model, f.data, rows).dump(), "application/json")
        ->status;
  };
  CHECK(status(2, {{"X-Account", "anna"}}) == 401);
  CHECK(status(2, {{"X-Account", "anna"}, {"Authorization", "Bearer bad"}}) == 403);
  CHECK(status(3, {{"X-Account", "anna"}, {"Authorization", "Bearer good"}}) == 429);
  CHECK(recorder.rows.empty());
  CHECK(status(2, {{"X-Account", "anna"}, {"Authorization", "Bearer good"}}) == 200);
  CHECK(recorder.rows.size() == 2);
}

TEST_CASE("swapping the model under load loses and mixes nothing", "[threads]") {
  const Fixture f;
  const auto other = sample_model(sample_rows(400, 9, 0.3)).with_lineage("run-2");
  Server server({.threads = 2});
  server.set_model("m", f.model, "1");
  const auto request = rows_request(f.model, f.data, 8).dump();
  const auto expect = [&](const Model& model) {
    std::vector<float> row(model.inputs()), out(16);
    for (std::size_t i = 0; i < 8; ++i) {
      model.encoder().raw_row(f.data.row(i), row);
      REQUIRE(model.predict(row, std::span(out).subspan(2 * i, 2)) == errc::ok);
    }
    return out;
  };
  const std::map<std::string, std::vector<float>> expected{{"run-1", expect(f.model)}, {"run-2", expect(other)}};
  REQUIRE(expected.at("run-1") != expected.at("run-2"));
  std::atomic<int> good{0}, bad{0};
  std::atomic<bool> done{false};
  std::set<std::string> seen;
  std::mutex mutex;
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c)
    clients.emplace_back([&] {
      auto client = client_of(server);
      for (int i = 0; i < 150; ++i) {
        const auto answer = client.Post("/v2/models/m/infer", request, "application/json");
        if (!answer || answer->status != 200) {
          ++bad;
          continue;
        }
        const auto body = json::parse(answer->body);
        const auto lineage = body["parameters"]["lineage_id"].get<std::string>();
        const auto numbers = body["outputs"][0]["data"].get<std::vector<float>>();
        const bool version_fits = body["model_version"] == (lineage == "run-1" ? "1" : "2");
        numbers == expected.at(lineage) && version_fits ? ++good : ++bad;
        const std::lock_guard lock(mutex);
        seen.insert(lineage);
      }
    });
  std::thread swapper([&] {
    for (int i = 0; !done; ++i) {
      i % 2 ? server.set_model("m", f.model, "1") : server.set_model("m", other, "2");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (auto& thread : clients) thread.join();
  done = true;
  swapper.join();
  CHECK(good == 600);
  CHECK(bad == 0);
  CHECK(seen.size() == 2);
  CHECK(server.stats().rows == 600 * 8);
}

TEST_CASE("stopping is quick, repeatable and frees the port") {
  auto server = std::make_unique<Server>(ServerOptions{});
  const auto port = server->port();
  auto client = client_of(*server);
  CHECK(client.Get("/v2")->status == 200);  // leaves an idle keep-alive connection
  const auto start = Clock_::now();
  server->stop();
  server->stop();
  CHECK(Clock_::now() - start < std::chrono::seconds(2));
  CHECK_FALSE(client.Get("/v2"));
  server.reset();
  Server again({.port = port});
  CHECK(again.port() == port);
  CHECK(again.url() == "http://127.0.0.1:" + std::to_string(port));
}

TEST_CASE("bad options are refused") {
  const auto code = [](const ServerOptions& options) {
    try {
      Server server(options);
    } catch (const Error& error) {
      return error.code();
    }
    return errc::ok;
  };
  CHECK(code({.address = "not an address"}) == errc::invalid_argument);
  CHECK(code({.threads = 0}) == errc::invalid_argument);
  CHECK(code({.header_timeout_ms = 0}) == errc::invalid_argument);
  CHECK(code({.address = "192.0.2.1"}) == errc::io_error);  // TEST-NET-1: not ours
  Server server;
  CHECK(code({.port = server.port()}) == errc::io_error);
  CHECK_THROWS_AS(server.set_model("a/b", Model()), Error);
}

// A client of the prediction service: Open Inference Protocol V2 with JSON bodies over loopback.
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "job.hpp"

namespace job {

namespace {

/// One row as the request body: a tensor of shape [1] per feature column of the model.
nlohmann::json request_of(const Model& model, const RowView& row) {
  auto inputs = nlohmann::json::array();
  for (const ColumnSpec& feature : model.schema().columns()) {
    const Column& column = row.dataset().column(feature.name);
    nlohmann::json value;
    const char* type = "BYTES";
    if (feature.type == ColumnType::numeric) {
      type = "FP64";
      if (!column.missing(row.index())) value = column.numbers[row.index()];
    } else if (feature.type == ColumnType::timestamp) {
      type = "INT64";
      if (!column.missing(row.index())) value = column.times[row.index()];
    } else if (!column.missing(row.index())) {
      value = column.to_text(row.index());
    }
    inputs.push_back({{"name", feature.name}, {"datatype", type}, {"shape", {1}}, {"data", {value}}});
  }
  return {{"inputs", inputs}};
}

}  // namespace

struct Client::Connection {
  explicit Connection(int port) : http("127.0.0.1", port) {
    http.set_keep_alive(true);
    http.set_tcp_nodelay(true);
  }
  httplib::Client http;
};

Client::Client(int port, std::string name) : connection_(new Connection(port)), name_(std::move(name)) {}

Client::~Client() { delete connection_; }

bool Client::healthy() {
  const auto ready = connection_->http.Get("/v2/health/ready");
  const auto model = connection_->http.Get("/v2/models/" + name_);
  return ready && ready->status == 200 && model && model->status == 200;
}

std::vector<float> Client::ask(const Model& model, const RowView& row, const std::string& caller) {
  const auto answer = connection_->http.Post("/v2/models/" + name_ + "/infer", {{"X-Caller", caller}},
                                             request_of(model, row).dump(), "application/json");
  if (!answer) throw std::runtime_error("the service does not answer");
  if (answer->status != 200) throw std::runtime_error("the service says: " + answer->body);
  const auto body = nlohmann::json::parse(answer->body);
  for (const auto& output : body.at("outputs"))
    if (output.at("name") != "label") return output.at("data").get<std::vector<float>>();
  throw std::runtime_error("the service gave no probabilities");
}

}  // namespace job

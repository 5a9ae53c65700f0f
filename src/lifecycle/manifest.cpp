#include "redoubt/lifecycle/manifest.hpp"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

using nlohmann::json;

template <class T>
T field(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) detail::fail(errc::corrupt, fmt::format("manifest: field \"{}\" is absent", key));
  try {
    return found->get<T>();
  } catch (const json::exception&) {
    detail::fail(errc::corrupt, fmt::format("manifest: field \"{}\" is of type {}", key, found->type_name()));
  }
}

using Flat = std::map<std::string, std::string>;

/// "models.gbt", or "models.gbt#2" if a run stored two under one name.
std::string unused_key(const Flat& flat, std::string key) {
  if (!flat.contains(key + ".hash")) return key;
  int n = 2;
  while (flat.contains(fmt::format("{}#{}.hash", key, n))) ++n;
  return fmt::format("{}#{}", key, n);
}

Flat flatten(const Manifest& m) {
  Flat flat{{"run_name", m.run_name},
            {"library_version", m.library_version},
            {"compiler", m.compiler},
            {"compiler_flags", m.compiler_flags},
            {"isa", m.isa},
            {"cpu", m.cpu},
            {"code_commit", m.code_commit},
            {"parent_model", m.parent_model}};
  for (const auto& d : m.datasets) {
    const auto key = unused_key(flat, "datasets." + d.name) + ".";
    flat[key + "hash"] = d.hash;
    flat[key + "origin"] = d.origin;
    flat[key + "role"] = d.role;
    flat[key + "schema"] = d.schema;
    flat[key + "rows"] = fmt::format("{}", d.rows);
  }
  for (const auto& model : m.models) {
    const auto key = unused_key(flat, "models." + model.name) + ".";
    flat[key + "hash"] = model.hash;
    flat[key + "algorithm"] = model.algorithm;
    flat[key + "options"] = model.options;
    flat[key + "data_hash"] = model.data_hash;
    flat[key + "seed"] = fmt::format("{}", model.seed);
  }
  for (const auto& [name, value] : m.metrics) flat["metrics." + name] = fmt::format("{}", value);
  return flat;
}

}  // namespace

std::string Manifest::to_json() const {
  json datasets_json = json::array(), models_json = json::array(), metrics_json = json::object();
  for (const auto& d : datasets)
    datasets_json.push_back({{"hash", d.hash},
                             {"name", d.name},
                             {"origin", d.origin},
                             {"role", d.role},
                             {"schema", d.schema},
                             {"rows", d.rows}});
  for (const auto& m : models)
    models_json.push_back({{"hash", m.hash},
                           {"name", m.name},
                           {"algorithm", m.algorithm},
                           {"options", m.options},
                           {"data_hash", m.data_hash},
                           {"seed", m.seed}});
  // JSON has no NaN or infinity, so metrics travel as text.
  for (const auto& [name, value] : metrics) metrics_json[name] = fmt::format("{}", value);
  const json document{{"run_id", run_id},
                      {"run_name", run_name},
                      {"state", state},
                      {"library_version", library_version},
                      {"compiler", compiler},
                      {"compiler_flags", compiler_flags},
                      {"isa", isa},
                      {"cpu", cpu},
                      {"code_commit", code_commit},
                      {"parent_model", parent_model},
                      {"datasets", std::move(datasets_json)},
                      {"models", std::move(models_json)},
                      {"metrics", std::move(metrics_json)}};
  return document.dump(2, ' ', false, json::error_handler_t::replace);
}

Manifest Manifest::from_json(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) detail::fail(errc::corrupt, "manifest: not a JSON object");
  Manifest m;
  m.run_id = field<std::string>(document, "run_id");
  m.run_name = field<std::string>(document, "run_name");
  m.state = field<std::string>(document, "state");
  m.library_version = field<std::string>(document, "library_version");
  m.compiler = field<std::string>(document, "compiler");
  m.compiler_flags = field<std::string>(document, "compiler_flags");
  m.isa = field<std::string>(document, "isa");
  m.cpu = field<std::string>(document, "cpu");
  m.code_commit = field<std::string>(document, "code_commit");
  m.parent_model = field<std::string>(document, "parent_model");
  for (const auto& d : field<std::vector<json>>(document, "datasets"))
    m.datasets.push_back({field<std::string>(d, "hash"), field<std::string>(d, "name"), field<std::string>(d, "origin"),
                          field<std::string>(d, "role"), field<std::string>(d, "schema"),
                          field<std::uint64_t>(d, "rows")});
  for (const auto& d : field<std::vector<json>>(document, "models"))
    m.models.push_back({field<std::string>(d, "hash"), field<std::string>(d, "name"),
                        field<std::string>(d, "algorithm"), field<std::string>(d, "options"),
                        field<std::string>(d, "data_hash"), field<std::uint64_t>(d, "seed")});
  for (const auto& [name, value] : field<std::map<std::string, std::string>>(document, "metrics")) {
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, m.metrics[name]);
    if (error != std::errc() || stop != end)
      detail::fail(errc::corrupt, fmt::format("manifest: metric \"{}\" is \"{}\", not a number", name, value));
  }
  return m;
}

std::vector<std::string> Manifest::missing() const {
  std::vector<std::string> names;
  const auto need = [&](const std::string& value, std::string name) {
    if (value.empty()) names.push_back(std::move(name));
  };
  need(run_id, "run_id");
  need(run_name, "run_name");
  need(library_version, "library_version");
  need(compiler, "compiler");
  need(compiler_flags, "compiler_flags");
  need(isa, "isa");
  need(cpu, "cpu");
  need(code_commit, "code_commit");
  if (datasets.empty()) names.emplace_back("datasets");
  if (models.empty()) names.emplace_back("models");
  if (metrics.empty()) names.emplace_back("metrics");
  for (const auto& d : datasets) {
    need(d.hash, "datasets." + d.name + ".hash");
    need(d.origin, "datasets." + d.name + ".origin");
    need(d.schema, "datasets." + d.name + ".schema");
  }
  for (const auto& m : models) {
    need(m.algorithm, "models." + m.name + ".algorithm");
    need(m.options, "models." + m.name + ".options");
    need(m.data_hash, "models." + m.name + ".data_hash");
  }
  return names;
}

std::vector<ManifestChange> diff(const Manifest& before, const Manifest& after) {
  const Flat a = flatten(before), b = flatten(after);
  std::vector<ManifestChange> changes;
  Flat keys = a;
  keys.insert(b.begin(), b.end());
  for (const auto& [key, unused] : keys) {
    const auto left = a.find(key), right = b.find(key);
    std::string l = left == a.end() ? "" : left->second, r = right == b.end() ? "" : right->second;
    if (l != r) changes.push_back({key, std::move(l), std::move(r)});
  }
  return changes;
}

}  // namespace redoubt

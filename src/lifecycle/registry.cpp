#include "redoubt/lifecycle/registry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "lifecycle/store.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/lifecycle/gate.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

using detail::Statement;
using detail::Transaction;
using Lock = std::lock_guard<std::mutex>;

namespace {

void check_name(const char* what, std::string_view name) {
  const bool fine = !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
  if (!fine)
    detail::fail(errc::invalid_argument,
                 fmt::format("{} \"{}\" must be 1 to 128 letters, digits, '_', '-' or '.'", what, name));
}

void check_alias(std::string_view alias) {
  check_name("alias", alias);
  if (std::all_of(alias.begin(), alias.end(), [](unsigned char c) { return std::isdigit(c); }))
    detail::fail(errc::invalid_argument, fmt::format("alias \"{}\" would be mistaken for a version number", alias));
}

std::pair<std::string, std::string> split_reference(std::string_view reference) {
  const auto at = reference.find('@');
  if (at == std::string_view::npos) return {std::string(reference), "production"};
  return {std::string(reference.substr(0, at)), std::string(reference.substr(at + 1))};
}

std::uint64_t version_of_alias(Workspace::Impl& store, std::string_view name, std::string_view alias) {
  Statement select(store.db,
                   "SELECT version FROM redoubt_alias WHERE name = ? AND alias = ? AND live = 1 ORDER BY id "
                   "DESC LIMIT 1");
  select.bind(name).bind(alias);
  return select.step() ? static_cast<std::uint64_t>(select.integer(0)) : 0;
}

void move_alias(Workspace::Impl& store, std::string_view name, std::string_view alias, std::uint64_t version) {
  Statement(store.db, "INSERT INTO redoubt_alias(name, alias, version) VALUES(?, ?, ?)")
      .bind(name)
      .bind(alias)
      .bind(static_cast<std::int64_t>(version))
      .run();
}

std::vector<ModelVersion> select_versions(Workspace::Impl& store, std::string_view name) {
  std::vector<ModelVersion> versions;
  Statement select(store.db,
                   "SELECT version, model_hash, data_hash, run_id, gate, forced, actor, reason, created_ms FROM "
                   "redoubt_version WHERE name = ? ORDER BY version");
  select.bind(name);
  while (select.step()) {
    ModelVersion v;
    v.name = name;
    v.version = static_cast<std::uint64_t>(select.integer(0));
    v.model_hash = select.text(1);
    v.data_hash = select.text(2);
    v.run_id = select.text(3);
    v.gate = select.text(4);
    v.forced = select.integer(5) != 0;
    v.actor = select.text(6);
    v.reason = select.text(7);
    v.created_ms = select.integer(8);
    versions.push_back(std::move(v));
  }
  Statement aliases(store.db, "SELECT DISTINCT alias FROM redoubt_alias WHERE name = ? AND live = 1 ORDER BY alias");
  aliases.bind(name);
  while (aliases.step()) {
    const auto alias = aliases.text(0);
    const auto target = version_of_alias(store, name, alias);
    for (auto& v : versions)
      if (v.version == target) v.aliases.push_back(alias);
  }
  return versions;
}

ModelVersion select_version(Workspace::Impl& store, std::string_view name, std::string_view which) {
  const auto versions = select_versions(store, name);
  for (const auto& v : versions) {
    if (which == fmt::format("{}", v.version)) return v;
    if (std::find(v.aliases.begin(), v.aliases.end(), which) != v.aliases.end()) return v;
  }
  std::string known;
  for (const auto& v : versions) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", v.version);
    for (const auto& alias : v.aliases) known += fmt::format(", {}", alias);
  }
  detail::fail(errc::not_found, fmt::format("no model \"{}@{}\" in {}; there is: {}", name, which, store.directory,
                                            known.empty() ? "nothing of that name" : known));
}

}  // namespace

ModelVersion Registry::publish(std::string_view name, const Model& model, const GateReport& report,
                               const PublishOptions& options) {
  check_name("model name", name);
  if (!options.alias.empty()) check_alias(options.alias);
  auto& store = *workspace_.impl();
  const auto hash = model.hash();
  const auto actor = options.actor.empty() ? store.options.actor : options.actor;
  if (report.candidate != hash)
    detail::fail(errc::refused,
                 fmt::format("publish {}: the gate report is about model {}, not about {}; run the gate on "
                             "the model that RunStage::output returned, and publish that one",
                             name, report.candidate.empty() ? "(none)" : report.candidate, hash));
  const bool passed = report.passed();
  if (!passed && options.force && (options.reason.empty() || actor.empty() || actor == "unknown"))
    detail::fail(errc::refused, fmt::format("publish {}: forcing past the gate needs an actor and a reason", name));

  Lock lock(store.mutex);
  if (!store.find_artifact_locked(detail::type_model, hash))
    detail::fail(errc::not_found, fmt::format("publish {}: model {} is not stored in {}; publish the model that "
                                              "RunStage::output returned",
                                              name, hash, store.directory));
  store.fetch(hash);  // what is published can be loaded
  Transaction transaction(store.db, true);
  if (!passed && !options.force) {
    const auto why = report.why_not();
    store.log_locked(actor, "publish.refused", fmt::format("{} {}", name, hash), why);
    transaction.commit();
    detail::fail(errc::refused, fmt::format("publish {}: the gate did not pass: {}", name, why));
  }
  const auto versions = select_versions(store, name);
  ModelVersion v;
  v.name = name;
  v.version = versions.empty() ? 1 : versions.back().version + 1;
  v.model_hash = hash;
  v.data_hash = model.info().data_hash;
  v.run_id = model.info().lineage_id;
  v.gate = report.to_json();
  v.forced = !passed;
  v.actor = actor;
  v.reason = options.reason;
  v.created_ms = store.now_ms();
  Statement(store.db, "INSERT INTO redoubt_version VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(v.name)
      .bind(static_cast<std::int64_t>(v.version))
      .bind(v.model_hash)
      .bind(v.data_hash)
      .bind(v.run_id)
      .bind(v.gate)
      .bind(std::int64_t{v.forced})
      .bind(v.actor)
      .bind(v.reason)
      .bind(v.created_ms)
      .run();
  if (!options.alias.empty()) {
    move_alias(store, name, options.alias, v.version);
    v.aliases.push_back(options.alias);
  }
  store.log_locked(actor, v.forced ? "publish.forced" : "publish", fmt::format("{}@{}", name, v.version),
                   fmt::format("model {} alias \"{}\"{}{}", hash, options.alias, v.forced ? " reason: " : "",
                               v.forced ? options.reason + "; gate: " + report.why_not() : ""));
  transaction.commit();
  return v;
}

ModelVersion Registry::rollback(std::string_view reference, std::string_view reason) {
  const auto [name, alias] = split_reference(reference);
  auto& store = *workspace_.impl();
  Lock lock(store.mutex);
  Transaction transaction(store.db, true);
  const auto present = version_of_alias(store, name, alias);
  if (!present) select_version(store, name, alias);  // throws with what there is
  // The moves that led to the present version are taken back; they stay in the table, and the log names this.
  Statement previous(store.db,
                     "SELECT id, version FROM redoubt_alias WHERE name = ? AND alias = ? AND live = 1 AND "
                     "version <> ? ORDER BY id DESC LIMIT 1");
  previous.bind(name).bind(alias).bind(static_cast<std::int64_t>(present));
  if (!previous.step())
    detail::fail(errc::not_found,
                 fmt::format("\"{}@{}\" has only ever been version {}: nothing to go back to", name, alias, present));
  const auto id = previous.integer(0), version = previous.integer(1);
  Statement(store.db, "UPDATE redoubt_alias SET live = 0 WHERE name = ? AND alias = ? AND id > ?")
      .bind(name)
      .bind(alias)
      .bind(id)
      .run();
  auto v = select_version(store, name, fmt::format("{}", version));
  store.log_locked(store.options.actor, "rollback", fmt::format("{}@{}", name, alias),
                   fmt::format("version {} to {}: model {} data {}{}{}", present, version, v.model_hash, v.data_hash,
                               reason.empty() ? "" : " reason: ", reason));
  transaction.commit();
  return v;
}

ModelVersion Registry::set_alias(std::string_view name, std::string_view alias, std::uint64_t version) {
  check_alias(alias);
  auto& store = *workspace_.impl();
  Lock lock(store.mutex);
  Transaction transaction(store.db, true);
  select_version(store, name, fmt::format("{}", version));
  move_alias(store, name, alias, version);
  store.log_locked(store.options.actor, "alias", fmt::format("{}@{}", name, alias), fmt::format("version {}", version));
  auto v = select_version(store, name, fmt::format("{}", version));
  transaction.commit();
  return v;
}

ModelVersion Registry::resolve(std::string_view reference) const {
  const auto [name, which] = split_reference(reference);
  auto& store = *workspace_.impl();
  Lock lock(store.mutex);
  return select_version(store, name, which);
}

Model Registry::load(std::string_view reference) const { return workspace_.load_model(resolve(reference).model_hash); }

std::vector<std::string> Registry::names() const {
  auto& store = *workspace_.impl();
  Lock lock(store.mutex);
  std::vector<std::string> names;
  Statement select(store.db, "SELECT DISTINCT name FROM redoubt_version ORDER BY name");
  while (select.step()) names.push_back(select.text(0));
  return names;
}

std::vector<ModelVersion> Registry::versions(std::string_view name) const {
  auto& store = *workspace_.impl();
  Lock lock(store.mutex);
  return select_versions(store, name);
}

std::vector<ManifestChange> Registry::compare(std::string_view before, std::string_view after) const {
  return diff(workspace_.manifest(resolve(before).run_id), workspace_.manifest(resolve(after).run_id));
}

}  // namespace redoubt

#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/lifecycle/html_report.hpp"
#include "redoubt/lifecycle/registry.hpp"
#include "redoubt/lifecycle/workspace.hpp"

namespace redoubt::cli {
namespace {

nlohmann::json to_json(const DataImpact& impact) {
  auto models = nlohmann::json::array(), datasets = nlohmann::json::array();
  for (const ModelRecord& model : impact.models)
    models.push_back({{"hash", model.hash}, {"algorithm", model.algorithm}});
  for (const DatasetRecord& data : impact.datasets)
    datasets.push_back({{"hash", data.hash}, {"name", data.name}, {"rows", data.rows}});
  return {{"datasets", datasets}, {"models", models}, {"releases", impact.releases}};
}

nlohmann::json to_json(const ModelOrigin& origin) {
  auto datasets = nlohmann::json::array();
  for (const DatasetRecord& data : origin.trained_on)
    datasets.push_back({{"hash", data.hash}, {"name", data.name}, {"origin", data.origin}, {"rows", data.rows}});
  return {{"model", origin.model.hash}, {"algorithm", origin.model.algorithm}, {"options", origin.model.options},
          {"run", origin.run_id},       {"run_name", origin.run_name},         {"trained_on", datasets}};
}

nlohmann::json graph_json(const LineageGraph& graph) {
  auto nodes = nlohmann::json::array(), edges = nlohmann::json::array();
  for (const LineageNode& node : graph.nodes)
    nodes.push_back({{"id", node.id}, {"kind", to_string(node.kind)}, {"label", node.label}, {"detail", node.detail}});
  for (const LineageEdge& edge : graph.edges)
    edges.push_back({{"from", graph.nodes[edge.from].id}, {"to", graph.nodes[edge.to].id}, {"label", edge.label}});
  return {{"nodes", nodes}, {"edges", edges}};
}

}  // namespace

void add_lineage(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string workspace, model, source, html;
    std::int64_t row = -1;
    bool verify = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("lineage", "where a model comes from, and what a row or a source got into");
  command->add_option("WORKSPACE", arguments->workspace, "folder of the workspace")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--model", arguments->model, "name@alias, name@version or a model hash: its run, data and rows");
  command->add_option("--source", arguments->source, "a source: the datasets, models and releases that it reached");
  command->add_option("--row", arguments->row, "a row id: the same");
  command->add_option("--html", arguments->html, "draw the lineage graph into this HTML file");
  command->add_flag("--verify", arguments->verify, "recompute the hash chain of the log; exit code 1 if it is broken");
  command->add_flag("--json", arguments->json, "print JSON");
  command->callback([arguments, &exit_code] {
    const Workspace workspace = Workspace::open(arguments->workspace);
    nlohmann::json result;
    if (!arguments->model.empty()) {
      const bool is_hash = arguments->model.size() == 64 && arguments->model.find('@') == std::string::npos;
      result["origin"] = to_json(
          workspace.origin(is_hash ? arguments->model : workspace.registry().resolve(arguments->model).model_hash));
    }
    if (!arguments->source.empty()) result["source"] = to_json(workspace.impact_of_source(arguments->source));
    if (arguments->row >= 0) result["row"] = to_json(workspace.impact_of_row(static_cast<RowId>(arguments->row)));
    if (arguments->verify) {
      const LogCheck check = workspace.verify_log();
      result["log"] = {{"intact", check.intact},
                       {"entries", check.entries},
                       {"first_bad", check.first_bad},
                       {"reason", check.reason}};
      if (!check.intact) exit_code = said_no;
    }
    const LineageGraph graph = workspace.lineage_graph();
    if (!arguments->html.empty()) HtmlReport("Lineage", arguments->workspace).lineage(graph).write(arguments->html);
    if (result.empty()) {
      result["runs"] = nlohmann::json::array();
      for (const RunRecord& run : workspace.runs())
        result["runs"].push_back({{"id", run.id}, {"name", run.name}, {"state", run.state}});
      result["graph"] = graph_json(graph);
    }
    if (arguments->json) {
      print(result);
      return;
    }
    for (const auto& [topic, content] : result.items()) std::cout << topic << ":\n" << content.dump(2) << '\n';
  });
}

}  // namespace redoubt::cli

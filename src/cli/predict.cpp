#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/csv.hpp"

namespace redoubt::cli {
namespace {

/// row id, label, then one column per output, ready for write_csv.
Dataset predictions(const Model& model, const Dataset& data) {
  const auto outputs = model.predict_proba(data);
  const bool classes = model.task() == Task::classification;
  std::vector<Column> columns;
  Column id{.spec = {.name = "row"}};
  for (RowId row : data.row_ids()) id.numbers.push_back(static_cast<double>(row));
  columns.push_back(std::move(id));
  if (classes) {
    Column label{.spec = {.name = "label", .type = ColumnType::categorical, .categories = model.classes()}};
    for (std::size_t row = 0; row < data.rows(); ++row) {
      const auto values = outputs.row(row);
      label.codes.push_back(static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin()));
    }
    columns.push_back(std::move(label));
  }
  for (std::size_t output = 0; output < model.outputs(); ++output) {
    Column value{.spec = {.name = classes ? "p(" + model.classes()[output] + ")" : "value"}};
    for (std::size_t row = 0; row < data.rows(); ++row) value.numbers.push_back(outputs(row, output));
    columns.push_back(std::move(value));
  }
  return Dataset(std::move(columns), {data.row_ids().begin(), data.row_ids().end()});
}

}  // namespace

void add_predict(CLI::App& app, int&) {
  struct Arguments {
    std::string model, out;
    DataArguments data;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("predict", "predict the rows of a file; CSV to stdout or to --out");
  command->add_option("MODEL", arguments->model, "model file")->required();
  add_data_arguments(*command, arguments->data, false);
  command->add_option("--out,-o", arguments->out, "CSV file to write");
  command->add_flag("--json", arguments->json, "print JSON instead of CSV");
  command->callback([arguments] {
    const Model model = Model::load(arguments->model);
    const Dataset data = read(arguments->data);
    print_quarantine(data);
    const Dataset table = predictions(model, data);
    if (!arguments->out.empty()) write_csv(table, arguments->out);
    if (arguments->json) {
      auto rows = nlohmann::json::array();
      for (std::size_t row = 0; row < table.rows(); ++row) {
        nlohmann::json entry;
        for (std::size_t c = 0; c < table.cols(); ++c) {
          const Column& column = table.column(c);
          if (column.spec.type == ColumnType::numeric)
            entry[column.spec.name] = column.numbers[row];
          else
            entry[column.spec.name] = column.to_text(row);
        }
        rows.push_back(std::move(entry));
      }
      print({{"lineage_id", model.info().lineage_id}, {"predictions", rows}});
    } else if (arguments->out.empty()) {
      std::cout << write_csv_text(table);
    }
  });
}

}  // namespace redoubt::cli

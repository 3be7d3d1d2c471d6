//! What a real account requires of the template, read from the template as SAM transforms it. Nothing here needs a stack.

use serde_json::Value;
use testkit::stack::root;
use tokio::process::Command;

/// The template that `CloudFormation` gets with these parameters.
async fn transformed(arguments: &[&str]) -> Value {
    let output = Command::new(root().join(".local/sam/bin/python"))
        .arg(root().join("dev/transformed.py"))
        .args(arguments)
        .output()
        .await
        .expect("the tool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The JSON that a script of Python prints, in SAM's environment.
async fn python(script: &str, arguments: &[&str]) -> Value {
    let output = Command::new(root().join(".local/sam/bin/python"))
        .args(["-c", script])
        .args(arguments)
        .current_dir(root())
        .output()
        .await
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The resources of a type, by their names.
fn of_type<'a>(template: &'a Value, kind: &str) -> Vec<(&'a String, &'a Value)> {
    let resources = template["Resources"].as_object().expect("resources");
    let found: Vec<_> = resources.iter().filter(|(_, resource)| resource["Type"] == kind).collect();
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

/// Whether a value refers to this name, at any depth.
fn refers_to(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, inner)| {
            (key == "Ref" && inner == name)
                || (key == "Fn::GetAtt" && inner[0] == name)
                || refers_to(inner, name)
        }),
        Value::Array(values) => values.iter().any(|inner| refers_to(inner, name)),
        Value::String(text) => text.contains(&format!("${{{name}")),
        _ => false,
    }
}

/// The functions that routes of the API lead to, by their names.
fn behind_the_api(template: &Value) -> Vec<String> {
    let (_, api) = of_type(template, "AWS::ApiGatewayV2::Api")[0];
    let functions = of_type(template, "AWS::Lambda::Function");
    let body = &api["Properties"]["Body"];
    let named = functions.into_iter().filter(|(name, _)| refers_to(body, name));
    named.map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn each_queue_has_a_limit_of_its_own_and_no_function_a_reservation_by_default() {
    let template = transformed(&[]).await;
    let mut limits: Vec<_> = of_type(&template, "AWS::Lambda::EventSourceMapping")
        .into_iter()
        .map(|(name, mapping)| {
            let limit = &mapping["Properties"]["ScalingConfig"]["MaximumConcurrency"]["Ref"];
            limit.as_str().unwrap_or_else(|| panic!("{name} has no parameter of its concurrency")).to_owned()
        })
        .collect();
    let count = limits.len();
    limits.sort();
    limits.dedup();
    assert_eq!(limits.len(), count, "two queues share a parameter: {limits:?}");
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        if name.ends_with("ReservedConcurrency") {
            assert_eq!(parameter["Default"], 0, "{name}");
        }
    }
}

/// A flood is limited by the API, and not only by the account.
#[tokio::test]
async fn every_route_is_throttled() {
    let template = transformed(&[]).await;
    let (_, stage) = of_type(&template, "AWS::ApiGatewayV2::Stage")[0];
    let properties = &stage["Properties"];
    let routes = properties["RouteSettings"].as_object().expect("settings of routes");
    for settings in routes.values().chain([&properties["DefaultRouteSettings"]]) {
        for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
            assert!(settings[limit]["Ref"].is_string(), "{settings}");
        }
    }
    // The alarm on requests of providers watches these; the others are billed, so they are an option.
    assert!(routes.values().all(|settings| settings["DetailedMetricsEnabled"] == true));
    let (_, api) = of_type(&template, "AWS::ApiGatewayV2::Api")[0];
    let paths = api["Properties"]["Body"]["paths"].as_object().unwrap();
    for path in paths.keys().filter(|path| path.starts_with("/in/")) {
        assert!(
            routes.keys().any(|route| route.ends_with(&format!(" {path}"))),
            "{path} has no settings of its own"
        );
    }
    assert_eq!(
        api["Properties"]["FailOnWarnings"],
        Value::Null,
        "a warning about SAM's own body ends a deployment"
    );
}

#[tokio::test]
async fn functions_of_the_api_know_the_secret_of_the_front() {
    let template = transformed(&[]).await;
    let functions = behind_the_api(&template);
    assert!(functions.len() >= 8, "{functions:?}");
    for name in functions {
        let variables = &template["Resources"][&name]["Properties"]["Environment"]["Variables"];
        assert!(
            refers_to(&variables["FRONT_REQUIRED"], "RequireFront"),
            "{name} accepts what goes around the front"
        );
        // A changed secret is read only if the reference to it changes.
        for variable in ["FRONT_SECRET", "FRONT_OTHER_SECRET"] {
            for part in ["FrontSecret}", "FrontSecretVersion}"] {
                assert!(refers_to(&variables[variable], part), "{name}: {variable} lacks {part}");
            }
        }
    }
}

#[tokio::test]
async fn tables_and_their_indexes_can_be_limited() {
    let template = transformed(&[]).await;
    for (name, table) in of_type(&template, "AWS::DynamoDB::Table") {
        let indexes = table["Properties"]["GlobalSecondaryIndexes"].as_array().cloned().unwrap_or_default();
        for part in indexes.iter().chain([&table["Properties"]]) {
            assert!(refers_to(&part["OnDemandThroughput"], "MaxWriteUnits"), "{name} {}", part["IndexName"]);
        }
    }
}

/// What holds data outlives its stack, but not a first deployment that fails.
#[tokio::test]
async fn what_holds_data_is_retained_except_by_a_failed_creation() {
    let template = transformed(&["--env", "prod"]).await;
    for kind in ["AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::SecretsManager::Secret"]
    {
        for (name, resource) in of_type(&template, kind) {
            // Leases and the front's secret can be made again.
            if ["LeasesTable", "FrontSecret"].contains(&name.as_str()) {
                continue;
            }
            assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
            assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
            if kind == "AWS::DynamoDB::Table" {
                assert!(resource["Properties"]["DeletionProtectionEnabled"].is_object(), "{name}");
            }
        }
    }
}

/// Behind the API, a version gets requests by an alias, which `CodeDeploy` moves and an alarm takes back.
#[tokio::test]
async fn versions_behind_the_api_are_deployed_gradually_in_prod() {
    let release = |digit: &str| format!("Release={}", digit.repeat(64));
    let prod = transformed(&["--env", "prod", "--param", &release("a")]).await;
    let (_, api) = of_type(&prod, "AWS::ApiGatewayV2::Api")[0];
    for function in behind_the_api(&prod) {
        let alias = format!("{function}Aliaslive");
        let alias_resource = &prod["Resources"][&alias];
        assert_eq!(alias_resource["Properties"]["Name"], "live", "{function}");
        assert!(alias_resource["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"].is_object(), "{function}");
        assert!(refers_to(&api["Properties"]["Body"], &alias), "{function} gets requests beside its alias");
        let group = &prod["Resources"][format!("{function}DeploymentGroup")]["Properties"];
        assert_eq!(group["AlarmConfiguration"]["Alarms"][0]["Name"]["Ref"], "LiveFails", "{function}");
    }
    // A change of a parameter alone is a new release, and must publish a version.
    let versions = |template: &Value| -> Vec<String> {
        of_type(template, "AWS::Lambda::Version").into_iter().map(|(name, _)| name.clone()).collect()
    };
    let next = transformed(&["--env", "prod", "--param", &release("b")]).await;
    assert!(versions(&prod).iter().all(|version| !versions(&next).contains(version)));
    assert_eq!(versions(&prod).len(), behind_the_api(&prod).len());
    // Lambda publishes a version only of what has changed, so SAM writes the release into the description.
    for function in behind_the_api(&prod) {
        let description =
            |template: &Value| template["Resources"][&function]["Properties"]["Description"].to_string();
        assert_ne!(description(&prod), description(&next), "{function}");
    }
    let dev = transformed(&["--env", "dev"]).await;
    assert!(
        dev["Resources"]
            .as_object()
            .unwrap()
            .values()
            .all(|one| one["Type"] != "AWS::CodeDeploy::DeploymentGroup")
    );
}

/// The policy of a production stack lets a rollback remove what the newer release has added.
#[tokio::test]
async fn an_update_may_replace_nothing_that_holds_data() {
    let script = "import sys, json; sys.path.insert(0, 'dev'); import release; print(json.dumps(release.STACK_POLICY))";
    let policy = python(script, &[]).await;
    let statements = policy["Statement"].as_array().unwrap();
    let denied: Vec<_> =
        statements.iter().filter(|one| one["Effect"] == "Deny").map(|one| &one["Action"]).collect();
    assert_eq!(denied, ["Update:Replace"]);
}

/// A domain that leads to the API itself is of no use with a front, whose secret its requests lack.
#[tokio::test]
async fn settings_that_exclude_each_other_are_found_before_a_deployment() {
    let script = "import sys, json; sys.path.insert(0, 'dev'); import preflight; \
        print(json.dumps(list(preflight._setting_problems(json.loads(sys.argv[1])))))";
    for (parameters, expected) in [
        (r#"{"RequireFront": "true", "PublicUrl": "https://d"}"#, &[][..]),
        (r#"{"DomainName": "d", "PublicUrl": "https://d"}"#, &[]),
        (r#"{"DomainName": "d"}"#, &["PublicUrl is not"]),
        (r#"{"DomainName": "d", "PublicUrl": "https://d", "RequireFront": "true"}"#, &["that stack alone"]),
    ] {
        let problems = python(script, &[parameters]).await;
        let problems = problems.as_array().unwrap();
        assert_eq!(problems.len(), expected.len(), "{parameters}: {problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.as_str().unwrap().contains(part), "{problem}");
        }
    }
}

/// What a pipeline deploys works with its boundary, which allows nothing about roles.
#[tokio::test]
async fn the_boundary_of_a_pipeline_has_each_grant_and_none_on_roles() {
    let script = "import fnmatch, json, pathlib; from samcli.yamlhelper import yaml_parse; \
        read = lambda path: pathlib.Path(path).read_text(); \
        resources = yaml_parse(read('dev/deploy-role.yaml'))['Resources']; \
        statements = resources['Boundary']['Properties']['PolicyDocument']['Statement']; \
        actions = [one for statement in statements for one in \
            (statement['Action'] if isinstance(statement['Action'], list) else [statement['Action']])]; \
        words = [line.split() for line in read('dev/grants.txt').splitlines()]; \
        granted = {line[2] for line in words if line[1:2] == ['allows'] and 'Role' in line[0]} - {'sts:AssumeRole'}; \
        outside = sorted(one for one in granted if not any(fnmatch.fnmatch(one, known) for known in actions)); \
        print(json.dumps([len(granted), outside, actions]))";
    let found = python(script, &[]).await;
    assert!(found[0].as_u64().is_some_and(|granted| granted > 20), "{found}");
    assert_eq!(found[1], serde_json::json!([]), "the boundary lacks them");
    for action in found[2].as_array().unwrap() {
        let action = action.as_str().unwrap();
        assert!(!["*", "iam:", "sts:"].iter().any(|start| action.starts_with(start)), "{action}");
    }
}

/// The firewall counts webhooks of providers apart, and lets their addresses through whatever their reputation.
#[test]
fn the_firewall_knows_webhooks_of_providers() {
    let edge = std::fs::read_to_string(root().join("edge.yaml")).unwrap();
    let (_, rules) = edge.split_once("      Rules:\n").unwrap();
    for rule in rules.split("        - Name: ").skip(1) {
        let name = rule.lines().next().unwrap();
        assert!(rule.contains("SearchString: /in/"), "{name}");
        assert_eq!(rule.contains("NotStatement"), name != "webhooks-per-provider", "{name}");
    }
}

/// A job that cannot begin is given up soon, kept in a queue, and noticed by an alarm.
#[tokio::test]
async fn jobs_have_an_age_limit_a_dead_letter_queue_and_a_heartbeat() {
    let template = transformed(&[]).await;
    for (name, schedule) in of_type(&template, "AWS::Scheduler::Schedule") {
        let target = &schedule["Properties"]["Target"];
        assert!(refers_to(&target["DeadLetterConfig"], "JobsDeadLetters"), "{name}");
        let age = target["RetryPolicy"]["MaximumEventAgeInSeconds"].as_u64().expect("an age");
        assert!((60..300).contains(&age), "{name}: {age}");
        assert!(
            refers_to(&schedule["Properties"]["Name"], "AWS::StackName"),
            "{name} collides with another stack's"
        );
    }
    for (name, config) in of_type(&template, "AWS::Lambda::EventInvokeConfig") {
        assert!(
            config["Properties"]["MaximumEventAgeInSeconds"].as_u64().is_some_and(|age| age < 300),
            "{name}"
        );
    }
    for alarm in [
        "DueLate",
        "RepairLate",
        "ExpireLate",
        "CheckpointsLate",
        "TenantEraserSilent",
        "TenantExporterSilent",
    ] {
        assert_eq!(template["Resources"][alarm]["Properties"]["TreatMissingData"], "breaching", "{alarm}");
    }
    let stream = &template["Resources"]["AuditStreamLate"]["Properties"]["TreatMissingData"];
    assert_eq!(stream["Fn::If"], serde_json::json!(["StreamsAudit", "breaching", "notBreaching"]));
}

/// What costs money or needs an account's own decision is off until a parameter says so.
#[tokio::test]
async fn options_are_off_by_default_and_reach_every_function() {
    let template = transformed(&[]).await;
    for (parameter, default) in [
        ("DataKeyArn", ""),
        ("VpcSubnetIds", ""),
        ("DomainName", ""),
        ("AlertEmail", ""),
        ("PermissionsBoundaryArn", ""),
        ("RequireFront", "false"),
        ("GradualDeploys", "false"),
    ] {
        assert_eq!(template["Parameters"][parameter]["Default"], default, "{parameter}");
    }
    for parameter in ["BackupDays", "MonthlyBudgetUsd", "MaxReadUnits", "MaxWriteUnits"] {
        assert_eq!(template["Parameters"][parameter]["Default"], 0, "{parameter}");
    }
    for (name, function) in of_type(&template, "AWS::Lambda::Function") {
        let properties = &function["Properties"];
        assert!(refers_to(&properties["VpcConfig"], "VpcSubnetIds"), "{name}");
        let role = properties["Role"]["Fn::GetAtt"][0].as_str().expect("a role of the template");
        let attached = &template["Resources"][role]["Properties"]["ManagedPolicyArns"];
        for option in ["BeingInVpc", "UsingDataKey"] {
            assert!(refers_to(attached, option), "{role} lacks {option}");
        }
    }
    for (name, role) in of_type(&template, "AWS::IAM::Role") {
        assert!(refers_to(&role["Properties"]["PermissionsBoundary"], "PermissionsBoundaryArn"), "{name}");
    }
    for kind in ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::Logs::LogGroup"] {
        for (name, resource) in of_type(&template, kind) {
            assert!(refers_to(&resource["Properties"], "DataKeyArn"), "{name} is not encrypted with the key");
        }
    }
}

/// The same template for China, `GovCloud` and the rest: no partition and no domain of AWS by name.
#[test]
fn the_templates_name_no_partition() {
    for path in ["template.yaml", "edge.yaml", "network.yaml", "dev/deploy-role.yaml"] {
        let template = std::fs::read_to_string(root().join(path)).unwrap();
        for (index, line) in template.lines().enumerate() {
            let code = line.split(" #").next().unwrap_or_default();
            let is_pattern = code.contains("AllowedPattern") || code.contains("Description:");
            assert!(is_pattern || !code.contains("arn:aws:"), "{path}:{}: {line}", index + 1);
        }
    }
}

/// Throttled functions and failed versions are noticed whichever function it is.
#[tokio::test]
async fn alarms_watch_every_function() {
    let template = transformed(&[]).await;
    let behind = behind_the_api(&template);
    for (name, _) in of_type(&template, "AWS::Lambda::Function") {
        let is_behind = behind.contains(name);
        let throttled = if is_behind { "HttpThrottled" } else { "ConsumersThrottled" };
        assert!(refers_to(&template["Resources"][throttled], name), "{throttled} does not watch {name}");
        assert_eq!(refers_to(&template["Resources"]["LiveFails"], name), is_behind, "LiveFails and {name}");
    }
    for (name, alarm) in of_type(&template, "AWS::CloudWatch::Alarm") {
        let metrics = alarm["Properties"]["Metrics"].as_array().map_or(1, Vec::len);
        // One of them is the expression.
        assert!(metrics <= 11, "{name}: CloudWatch takes ten metrics in an alarm");
    }
}

/// The check before a deployment says which numbers fit into an account, or that none do.
#[tokio::test]
async fn a_plan_of_concurrency_fits_or_says_what_would() {
    let script = "import sys, json; sys.path.insert(0, 'dev'); import preflight; \
        from samcli.yamlhelper import yaml_parse; \
        template = yaml_parse(open('template.yaml').read()); \
        given = preflight.overrides(preflight.configured('prod')) | {'ApiReservedConcurrency': sys.argv[2]}; \
        plan = preflight.Plan(template, preflight.values(template, given)); \
        print(json.dumps(list(plan.problems(int(sys.argv[1]), int(sys.argv[1])))))";
    for (limit, reserved, expected) in [
        ("1000", "0", &[][..]),
        ("500", "0", &["set in samconfig.toml: DispatcherConcurrency="]),
        ("10", "0", &["too few for any setting"]),
        ("1000", "950", &["set the parameters …ReservedConcurrency to 0", "the account has room for 40"]),
    ] {
        let problems: Vec<String> =
            serde_json::from_value(python(script, &[limit, reserved]).await).expect("a list");
        assert_eq!(problems.len(), expected.len(), "{limit} {reserved}: {problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem}");
        }
        // What it proposes fits, at the least that a mapping accepts.
        let proposed = problems.iter().filter_map(|problem| problem.split_once("samconfig.toml: "));
        let numbers = proposed
            .flat_map(|(_, settings)| settings.split(['=', ' ']).filter_map(|word| word.parse().ok()));
        let numbers: Vec<u32> = numbers.collect();
        let room: u32 = limit.parse::<u32>().unwrap() * 4 / 5;
        assert!(
            numbers.iter().sum::<u32>() <= room && numbers.iter().all(|number| *number >= 2),
            "{numbers:?}"
        );
    }
}

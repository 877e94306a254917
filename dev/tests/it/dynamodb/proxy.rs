//! The proxy and its faults.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use axum::Router;
use axum::extract::ConnectInfo;
use dev::dynamodb::{Proxy, TableCall, TableFault, routes};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::create::{n, s};
use super::requests::{add, charge, client, condition_failed, count, impatient, newest_first, put};
use super::{BOOK, EVER, LIMITS, before, engine};

/// Longer than an answer without a delay takes.
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_fault_reaches_the_caller_as_its_error() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let rows = [
        (TableFault::Throttling, 400, "ThrottlingException"),
        (TableFault::ProvisionedThroughputExceeded, 400, "ProvisionedThroughputExceededException"),
        (TableFault::ResourceNotFound, 400, "ResourceNotFoundException"),
        (TableFault::AccessDenied, 400, "AccessDeniedException"),
        (TableFault::InternalServerError, 500, "InternalServerError"),
    ];
    for (fault, status, code) in rows {
        proxy.fail(Some(fault));
        let error = add(&client, LIMITS, "user").await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!(error.code(), Some(code));
        assert!(error.message().is_some_and(|message| message.len() > 10), "{fault:?} has a message: {error:?}");
        let modelled = match error.into_service_error() {
            UpdateItemError::ThrottlingException(_) => "ThrottlingException",
            UpdateItemError::ProvisionedThroughputExceededException(_) => "ProvisionedThroughputExceededException",
            UpdateItemError::ResourceNotFoundException(_) => "ResourceNotFoundException",
            UpdateItemError::InternalServerError(_) => "InternalServerError",
            // The SDK has no variant for it.
            _ => "AccessDeniedException",
        };
        assert_eq!(modelled, code);
    }
    proxy.fail(None);
    assert_eq!(count(&client, LIMITS, "user").await, 0, "no request reached the engine");
    add(&client, LIMITS, "user").await.unwrap();
}

#[tokio::test]
async fn a_fault_has_the_form_of_an_error_of_the_engine() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let its_own = add(&client, "no-such-table", "user").await.unwrap_err();
    proxy.fail(Some(TableFault::ResourceNotFound));
    let ours = add(&client, LIMITS, "user").await.unwrap_err();
    let body = |error: &SdkError<UpdateItemError>| {
        let body = error.raw_response().unwrap().body().bytes().unwrap();
        serde_json::from_slice::<serde_json::Value>(body).unwrap()
    };
    assert_eq!(body(&its_own)["__type"], body(&ours)["__type"]);
    let members = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<HashSet<_>>();
    assert_eq!(members(body(&its_own)), members(body(&ours)));
    for name in ["content-type", "x-amzn-requestid"] {
        let header = |error: &SdkError<_>| error.raw_response().unwrap().headers().get(name).map(str::to_owned);
        let (its_own, ours) = (header(&its_own).unwrap(), header(&ours).unwrap());
        assert!(its_own == ours || name == "x-amzn-requestid", "{name}: {its_own}, {ours}");
    }
}

#[tokio::test]
async fn a_swallowed_answer_hides_a_write() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), client(&running.url(""), 1));
    proxy.fail_every(3, TableFault::Swallow);
    let mut lost = 0;
    for asked in 1..=9 {
        match add(&client, LIMITS, "user").await {
            Ok(_) => {}
            Err(SdkError::DispatchFailure(_)) => lost += 1,
            Err(other) => panic!("{}", DisplayErrorContext(other)),
        }
        assert_eq!(count(&direct, LIMITS, "user").await, asked, "written in either case");
        assert_eq!(lost, asked / 3);
    }
    assert_eq!(proxy.calls(), 9);
}

#[tokio::test]
async fn a_retry_after_a_swallowed_answer_finds_its_own_write() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, retrying) = (client(&engine.url(), 1), client(&running.url(""), 2));
    first_fails(&proxy, TableFault::Swallow);
    add(&retrying, LIMITS, "twice").await.expect("the second attempt's answer arrives");
    assert_eq!(count(&direct, LIMITS, "twice").await, 2, "both attempts are counted");

    first_fails(&proxy, TableFault::Swallow);
    let error = charge(&retrying, LIMITS, "once", 1000, "run-1").await.unwrap_err();
    let left = condition_failed(error).expect("the refusal contains the item");
    assert_eq!((&left["rid"], &left["tat"]), (&s("run-1"), &n(1000)), "written by the first attempt");
    assert_eq!((proxy.calls(), proxy.calls_to("UpdateItem")), (4, 4));
}

#[tokio::test]
async fn a_client_retries_temporary_faults() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (retrying, impatient) = (client(&running.url(""), 2), impatient(&running.url(""), 2));
    let passing = [
        TableFault::Throttling,
        TableFault::ProvisionedThroughputExceeded,
        TableFault::InternalServerError,
        TableFault::Refuse,
        TableFault::Hang,
    ];
    for (done, fault) in passing.into_iter().enumerate() {
        first_fails(&proxy, fault);
        let client = if fault == TableFault::Hang { &impatient } else { &retrying };
        add(client, LIMITS, "user").await.unwrap_or_else(|error| panic!("{fault:?}: {}", DisplayErrorContext(error)));
        assert_eq!(
            count(&retrying, LIMITS, "user").await,
            done as u64 + 1,
            "{fault:?}: the first attempt wrote nothing"
        );
    }
    for fault in [TableFault::ResourceNotFound, TableFault::AccessDenied] {
        let before = proxy.calls();
        first_fails(&proxy, fault);
        assert!(add(&retrying, LIMITS, "user").await.is_err(), "{fault:?}");
        assert_eq!(proxy.calls() - before, 1, "{fault:?} is permanent");
    }
}

#[tokio::test]
async fn a_refused_request_gets_no_byte_and_writes_nothing() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), client(&running.url(""), 1));
    add(&client, LIMITS, "user").await.unwrap();
    for fault in [TableFault::Refuse, TableFault::Swallow] {
        proxy.fail(Some(fault));
        let mut socket = TcpStream::connect(running.address).await.unwrap();
        socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        let mut answer = Vec::new();
        timeout(EVER, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.is_empty(), "{fault:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    proxy.fail(Some(TableFault::Refuse));
    let error = add(&client, LIMITS, "user").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "user").await, 1);
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_timeout_of_its_caller() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), impatient(&running.url(""), 1));
    proxy.fail(Some(TableFault::Hang));
    let error = timeout(EVER, add(&client, LIMITS, "user")).await.unwrap().unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "user").await, 0);
}

#[tokio::test]
async fn a_delayed_answer_comes_after_the_write() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let direct = client(&engine.url(), 1);
    proxy.delay(EVER * 60);
    let impatient = impatient(&running.url(""), 1);
    let error = timeout(EVER, add(&impatient, LIMITS, "late")).await.unwrap().unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "late").await, 1, "written in spite of the timeout");

    proxy.delay(A_WHILE);
    let client = client(&running.url(""), 1);
    let mut asking = Box::pin(add(&client, LIMITS, "slow"));
    assert!(timeout(A_WHILE / 2, &mut asking).await.is_err(), "no answer yet");
    timeout(EVER, asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_proxy_without_an_engine_closes_the_connection() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    add(&client, LIMITS, "user").await.unwrap();
    drop(engine);
    for _ in 0..2 {
        let error = add(&client, LIMITS, "user").await.unwrap_err();
        assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    }
    assert_eq!(proxy.calls(), 3);
    let address = running.address;
    drop(running);
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(EVER, gone).await.expect("the port of the proxy is closed");
}

#[tokio::test]
async fn calls_are_counted_by_operation_and_table() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    add(&client, LIMITS, "user").await.unwrap();
    assert_eq!(count(&client, LIMITS, "user").await, 1);
    put(&client, BOOK, [("pk", s("user")), ("sk", s("BAL"))]).await;
    assert_eq!(newest_first(&client, BOOK, "user").await, [""; 0]);
    client.list_tables().send().await.unwrap();
    proxy.fail(Some(TableFault::AccessDenied));
    assert!(add(&client, LIMITS, "user").await.is_err());
    assert_eq!(proxy.calls(), 6, "a request that fails counts too");
    let operations = ["UpdateItem", "GetItem", "PutItem", "Query", "ListTables", "DeleteItem"];
    assert_eq!(operations.map(|operation| proxy.calls_to(operation)), [2, 1, 1, 1, 1, 0]);
    assert_eq!([LIMITS, BOOK, ""].map(|table| proxy.calls_on(table)), [3, 2, 1]);
    assert!(format!("{proxy:?}").contains("UpdateItem"));
}

#[tokio::test]
async fn a_script_chooses_the_calls_that_fail() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    proxy.script(move |call| {
        log.lock().unwrap().push(call.clone());
        (call.table == BOOK && call.operation == "UpdateItem").then_some(TableFault::Throttling)
    });
    add(&client, LIMITS, "user").await.unwrap();
    let key = HashMap::from([("pk".to_owned(), s("user")), ("sk".to_owned(), s("BAL"))]);
    assert!(client.update_item().table_name(BOOK).set_key(Some(key)).send().await.is_err());
    put(&client, BOOK, [("pk", s("user")), ("sk", s("BAL"))]).await;
    let call = |operation: &str, table: &str, sort_key: &str| TableCall {
        operation: operation.into(),
        table: table.into(),
        sort_key: sort_key.into(),
    };
    let expected = [call("UpdateItem", LIMITS, ""), call("UpdateItem", BOOK, "BAL"), call("PutItem", BOOK, "BAL")];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn requests_do_not_wait_for_each_other_and_connections_are_kept() {
    let peers = Arc::new(Mutex::new(HashSet::new()));
    let met = Arc::clone(&peers);
    let upstream = Router::new().fallback(async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        met.lock().unwrap().insert(peer);
        "{}"
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        axum::serve(listener, upstream.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    let proxy = Proxy::default();
    let running = dev::start(routes(proxy.clone(), &format!("http://{address}"))).await.unwrap();
    let client = client(&running.url(""), 1);
    for _ in 0..20 {
        add(&client, LIMITS, "user").await.unwrap();
    }
    assert_eq!(peers.lock().unwrap().len(), 1, "one after the other, on one connection");

    proxy.delay(A_WHILE);
    let many = join_all((0..30).map(|_| add(&client, LIMITS, "user")));
    let answers = timeout(A_WHILE * 10, many).await.expect("thirty take as long as one");
    assert!(answers.iter().all(Result::is_ok));
    proxy.delay(Duration::ZERO);
    let after = peers.lock().unwrap().len();
    assert!(after > 1, "in parallel, on several connections");
    for _ in 0..20 {
        add(&client, LIMITS, "user").await.unwrap();
    }
    assert_eq!(peers.lock().unwrap().len(), after, "the connections are used again");
}

fn first_fails(proxy: &Proxy, fault: TableFault) {
    let mut fault = Some(fault);
    proxy.script(move |_| fault.take());
}

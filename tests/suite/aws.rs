//! Who we are to AWS: a full deployment through each link of the chain, and what each broken link comes to.

use super::moto::Moto;
use super::sandbox::Sandbox;

#[test]
fn moto_checks_signatures_so_that_these_tests_mean_something() {
    let sandbox = Sandbox::new();
    let Some(mut moto) = Moto::start(&sandbox) else { return };
    let file = sandbox.write("file", "content");
    assert_eq!(moto.put("private", "a b/app+1.zip", &file), "None");
    assert!(moto.put("versioned", "app.zip", &file).len() > 4);
    let (temporary, token) = moto.assumed();
    assert!(!temporary.id.is_empty() && !token.is_empty());
    let look = "import botocore.exceptions\n\
                try:\n    print(client('s3').get_object(Bucket='private', Key='a b/app+1.zip')['Body'].read())\n\
                except botocore.exceptions.ClientError as e:\n    print(e.response['Error']['Code'])";
    assert_eq!(moto.boto(look, &[]).trim(), "b'content'");
    let good = std::mem::replace(&mut moto.keys.secret, "wrong".to_owned());
    assert_eq!(moto.boto(look, &[]).trim(), "SignatureDoesNotMatch");
    moto.keys.secret = good;
    let poor = moto.poor.clone();
    moto.keys = poor;
    assert_eq!(moto.boto(look, &[]).trim(), "AccessDenied");
}

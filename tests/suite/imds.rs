//! The instance metadata service, as nginx makes one: version 2 only, tokens that expire, no proxy, and what it costs where
//! nobody is.

use super::sandbox::Sandbox;
use super::servers::Nginx;

/// A metadata service of version 2 whose role is what stands in `www/latest/meta-data/iam/security-credentials/app-role`.
/// It gives another token to every connection that asks for one. `more` stands among its lines.
pub fn role_of_instance(sandbox: &Sandbox, more: &str) -> Nginx {
    let credentials = "/latest/meta-data/iam/security-credentials";
    sandbox.write(format!("www{credentials}/list"), "app-role\n");
    sandbox.write("www/latest/meta-data/placement/region", "us-east-1");
    let config = format!(
        "location = /latest/api/token {{\n\
           if ($request_method != PUT) {{ return 405; }}\n\
           if ($http_x_aws_ec2_metadata_token_ttl_seconds = '') {{ return 400; }}\n\
           if ($http_x_forwarded_for) {{ return 403; }}\n\
           return 200 metadata-token-$connection; }}\n\
         location /latest/meta-data/ {{\n\
           if ($http_x_aws_ec2_metadata_token !~ ^metadata-token-) {{ return 401; }}\n\
           rewrite ^{credentials}/$ {credentials}/list break;\n\
           {more} }}"
    );
    Nginx::start(sandbox, "", &config)
}

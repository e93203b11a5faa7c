from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import hashes, serialization as s
import datetime as d, sys

k = rsa.generate_private_key(65537, 2048)
n = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, sys.argv[3])])
u = d.timezone.utc
c = (
    x509.CertificateBuilder()
    .subject_name(n)
    .issuer_name(n)
    .public_key(k.public_key())
    .serial_number(1)
    .not_valid_before(d.datetime(2024, 1, 1, tzinfo=u))
    .not_valid_after(d.datetime(2025, 1, 1, tzinfo=u))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName(sys.argv[3])]), False)
    .sign(k, hashes.SHA256())
)
open(sys.argv[1], "wb").write(c.public_bytes(s.Encoding.PEM))
open(sys.argv[2], "wb").write(k.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))

# arguments: cert.pem key.pem other.example.org
